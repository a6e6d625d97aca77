/// Builds the configuration space of a PCI function, field by field as the standards lay it out.
public struct ConfigurationBytes: Sendable {
  /// The bytes so far: 256, or 4096 once an extended capability is added.
  public var bytes: [UInt8]
  private var lastPointer = 0x34
  private var lastExtended: Int?
  /// Where the next capability goes.
  private var next = 0x40

  /// A function with these ids and an empty capability list.
  public init(
    vendor: UInt16, device: UInt16, subsystemVendor: UInt16 = 0, subsystemDevice: UInt16 = 0,
    classCode: UInt32 = 0x020000, revision: UInt8 = 1
  ) {
    bytes = [UInt8](repeating: 0, count: 256)
    set(0x00, vendor)
    set(0x02, device)
    bytes[0x08] = revision
    for (offset, shift) in zip(0x09...0x0b, [0, 8, 16] as [UInt32]) {
      bytes[offset] = UInt8(truncatingIfNeeded: classCode >> shift)
    }
    set(0x2c, subsystemVendor)
    set(0x2e, subsystemDevice)
  }

  /// A modern virtio net device (virtio 1.2, section 4.1): five virtio capabilities and MSI-X.
  public static func virtioNet(vendor: UInt16 = 0x1af4, device: UInt16 = 0x1041) -> ConfigurationBytes {
    var function = ConfigurationBytes(
      vendor: vendor, device: device, subsystemVendor: vendor, subsystemDevice: 0x1100)
    function.addVirtio(type: 1, bar: 4, offset: 0, length: 0x1000)
    function.addVirtio(type: 3, bar: 4, offset: 0x1000, length: 0x1000)
    function.addVirtio(type: 4, bar: 4, offset: 0x2000, length: 0x1000)
    function.addVirtio(type: 2, bar: 4, offset: 0x3000, length: 0x1000, tail: [4, 0, 0, 0])
    function.addVirtio(type: 5, bar: 0, offset: 0, length: 0, tail: [0, 0, 0, 0])
    function.addCapability(0x11, [2, 0x80, 1, 0, 0, 0, 1, 8, 0, 0])
    return function
  }

  /// Sets 16 bits, little-endian.
  public mutating func set(_ offset: Int, _ value: UInt16) {
    bytes[offset] = UInt8(truncatingIfNeeded: value)
    bytes[offset + 1] = UInt8(value >> 8)
  }

  /// Sets 32 bits, little-endian.
  public mutating func set(_ offset: Int, _ value: UInt32) {
    set(offset, UInt16(truncatingIfNeeded: value))
    set(offset + 2, UInt16(value >> 16))
  }

  /// Adds a capability to the list and returns where it is.
  @discardableResult
  public mutating func addCapability(_ id: UInt8, _ body: [UInt8]) -> Int {
    let offset = next
    set(0x06, UInt16(0x10))
    bytes[lastPointer] = UInt8(offset)
    bytes[offset] = id
    bytes.replaceSubrange(offset + 2..<offset + 2 + body.count, with: body)
    lastPointer = offset + 1
    next = (offset + 2 + body.count + 3) & ~3
    return offset
  }

  /// Adds a virtio capability and returns where it is. `claimedLength` is what it says its own length is.
  @discardableResult
  public mutating func addVirtio(
    type: UInt8, bar: UInt8, offset: UInt32, length: UInt32, tail: [UInt8] = [], claimedLength: UInt8? = nil
  ) -> Int {
    let position = addCapability(
      0x09, [claimedLength ?? UInt8(16 + tail.count), type, bar, 0, 0, 0] + [UInt8](repeating: 0, count: 8) + tail)
    set(position + 8, offset)
    set(position + 12, length)
    return position
  }

  /// Adds an extended capability at `offset`, of version 1.
  public mutating func addExtended(_ id: UInt16, at offset: Int, _ body: [UInt8]) {
    if bytes.count < 4096 { bytes += [UInt8](repeating: 0, count: 4096 - bytes.count) }
    if let lastExtended { set(lastExtended + 2, UInt16(offset) << 4 | 1) }
    set(offset, UInt32(id) | 1 << 16)
    bytes.replaceSubrange(offset + 4..<offset + 4 + body.count, with: body)
    lastExtended = offset
  }

  /// The lines of `lspci -xxx` (or `-x` with `length` 64) for this function.
  public func recording(at address: String, length: Int? = nil) -> String {
    var text = "\(address) Some device: Some vendor Some name\n"
    for start in stride(from: 0, to: length ?? bytes.count, by: 16) {
      let line = bytes[start..<start + 16].map { Self.hexadecimal(UInt16($0), 2) }.joined(separator: " ")
      text += "\(Self.hexadecimal(UInt16(start), 2)): \(line)\n"
    }
    return text + "\n"
  }

  /// The bytes as one string of hexadecimal digits.
  public var hexadecimal: String { bytes.map { Self.hexadecimal(UInt16($0), 2) }.joined() }

  private static func hexadecimal(_ value: UInt16, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
  }
}
