/// Where a PCI function is: domain, bus, device and function, written `0000:03:00.1`.
public struct PCIAddress: Hashable, Sendable {
  /// The domain (the segment group of a host bridge). 16 bits on most machines, more behind some host bridges.
  public let domain: UInt32
  /// The bus number.
  public let bus: UInt8
  /// The device number, 0 to 31.
  public let device: UInt8
  /// The function number, 0 to 7.
  public let function: UInt8

  /// Makes an address, or nil where `device` or `function` is out of range.
  public init?(domain: UInt32, bus: UInt8, device: UInt8, function: UInt8) {
    guard device < 32, function < 8 else { return nil }
    self.domain = domain
    self.bus = bus
    self.device = device
    self.function = function
  }

  /// Reads an address as sysfs writes it: `dddd:bb:dd.f`, hexadecimal, the domain of four to eight digits.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 3 else { return nil }
    let last = parts[2].split(separator: ".", omittingEmptySubsequences: false)
    guard
      last.count == 2, (4...8).contains(parts[0].utf8.count), parts[1].utf8.count == 2, last[0].utf8.count == 2,
      last[1].utf8.count == 1, !text.contains("+"), !text.contains("-"),
      let domain = UInt32(parts[0], radix: 16), let bus = UInt8(parts[1], radix: 16),
      let device = UInt8(last[0], radix: 16), let function = UInt8(last[1], radix: 16)
    else { return nil }
    self.init(domain: domain, bus: bus, device: device, function: function)
  }
}

extension PCIAddress: Comparable {
  /// Orders by domain, bus, device, function.
  public static func < (a: PCIAddress, b: PCIAddress) -> Bool {
    (a.domain, a.bus, a.device, a.function) < (b.domain, b.bus, b.device, b.function)
  }
}

extension PCIAddress: CustomStringConvertible {
  /// The address as sysfs writes it.
  public var description: String {
    "\(domain.hexadecimal(4)):\(bus.hexadecimal(2)):\(device.hexadecimal(2)).\(function)"
  }
}

extension FixedWidthInteger {
  /// The number in base 16 with at least `digits` digits and no prefix.
  package func hexadecimal(_ digits: Int) -> String {
    let text = String(self, radix: 16)
    return String(repeating: "0", count: Swift.max(0, digits - text.utf8.count)) + text
  }
}
