extension PCIConfigurationSpace {
  /// The virtio capabilities among the vendor-specific ones (virtio 1.2, section 4.1.4).
  ///
  /// - Parameter barSizes: the sizes of the six BARs in bytes, 0 for one that is not there; nil where they are unknown.
  func virtioCapabilities(
    _ capabilities: [PCICapability], barSizes: [UInt64]?, problems: inout [String]
  ) -> [VirtioPCICapability] {
    var found: [VirtioPCICapability] = []
    for capability in capabilities where !capability.isExtended && capability.id == PCICapability.vendorSpecific {
      do {
        found.append(try virtioCapability(at: capability.offset, barSizes: barSizes))
      } catch {
        problems.append("virtio capability at \(hex(capability.offset)): \(error.reason)")
      }
    }
    return found
  }

  /// Whether these are what a driver needs: common configuration, doorbells and interrupt status. A vendor-specific
  /// capability of another vendor may look like one of the three by chance, not like all.
  static func isDriveable(_ capabilities: [VirtioPCICapability]) -> Bool {
    let kinds = Set(capabilities.map(\.kind))
    return kinds.isSuperset(of: [.common, .notify, .isr])
  }

  private struct Malformed: Error {
    let reason: String
    init(_ reason: String) { self.reason = reason }
  }

  /// The fixed part of `struct virtio_pci_cap`; with the upper halves of offset and length; and the notify capability.
  private static let length = 16
  private static let length64 = 24
  private static let notifyLength = 20
  /// The common configuration up to the fields of virtio 1.0.
  private static let commonLength: UInt64 = 56

  private func virtioCapability(
    at position: Int, barSizes: [UInt64]?
  ) throws(Malformed) -> VirtioPCICapability {
    let length = Int(byte(position + 2))
    let available = Self.conventionalLength - position
    guard length <= available else {
      throw Malformed("its \(length) bytes do not fit into the \(available) before the end of configuration space")
    }
    guard length >= 4 else { throw Malformed("its length of \(length) bytes leaves no room for a type") }
    let kind = VirtioPCICapability.Kind(rawValue: byte(position + 3))
    switch kind {
    case .common, .notify, .isr, .device, .sharedMemory: break
    // The driver moves the window of pci-access by writing its fields; a vendor's has a layout of its own; and a kind
    // that the standard does not name is to be ignored. Whatever stands in them locates nothing.
    default: return VirtioPCICapability(kind: kind, position: position, id: 0, region: nil, notifyMultiplier: nil)
    }
    let needed =
      switch kind {
      case .notify: Self.notifyLength
      case .sharedMemory: Self.length64
      default: Self.length
      }
    guard length >= needed else {
      throw Malformed("\(length) bytes are too short for \(kind.name), which takes \(needed)")
    }
    return VirtioPCICapability(
      kind: kind, position: position, id: byte(position + 5),
      region: try region(at: position, kind: kind, barSizes: barSizes),
      notifyMultiplier: kind == .notify ? word(position + 16) : nil)
  }

  private func region(
    at position: Int, kind: VirtioPCICapability.Kind, barSizes: [UInt64]?
  ) throws(Malformed) -> VirtioPCICapability.Region {
    let bar = byte(position + 4)
    guard bar <= 5 else { throw Malformed("BAR \(bar) does not exist (0 to 5)") }
    var offset = UInt64(word(position + 8))
    var length = UInt64(word(position + 12))
    var limit = UInt64(UInt32.max) + 1
    if kind == .sharedMemory {
      offset |= UInt64(word(position + 16)) << 32
      length |= UInt64(word(position + 20)) << 32
      limit = .max
    }
    let (end, overflow) = offset.addingReportingOverflow(length)
    guard !overflow, end <= limit else {
      throw Malformed("offset 0x\(offset.hexadecimal(1)) plus length 0x\(length.hexadecimal(1)) overflows")
    }
    if kind == .common, length < Self.commonLength {
      throw Malformed("the common configuration takes \(Self.commonLength) bytes, not \(length)")
    }
    if let barSizes {
      guard barSizes[Int(bar)] != 0 else { throw Malformed("BAR \(bar) is not implemented") }
      guard end <= barSizes[Int(bar)] else {
        throw Malformed(
          "it ends at 0x\(end.hexadecimal(1)), after BAR \(bar), whose size is 0x\(barSizes[Int(bar)].hexadecimal(1))")
      }
    }
    return VirtioPCICapability.Region(bar: bar, offset: offset, length: length)
  }
}
