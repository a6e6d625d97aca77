/// The bytes of a function's configuration space, as many as could be read, and what they say.
///
/// They come from a device or a file that may say anything: every walk is bounded, every field is inside its
/// capability, and what does not fit becomes a problem in words.
struct PCIConfigurationSpace {
  /// 64, 256 or 4096 bytes; fewer only in a damaged recording.
  let bytes: [UInt8]

  static let headerLength = 64
  static let conventionalLength = 256
  static let extendedLength = 4096

  func byte(_ offset: Int) -> UInt8 { bytes[offset] }

  func half(_ offset: Int) -> UInt16 { UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8 }

  func word(_ offset: Int) -> UInt32 { UInt32(half(offset)) | UInt32(half(offset + 2)) << 16 }

  /// Whether the function answers at all: one that has gone, or is held in reset, reads as all ones.
  var isPresent: Bool { bytes.count >= Self.headerLength && !bytes[0..<Self.headerLength].allSatisfy { $0 == 0xff } }

  /// Whether the status register says that there is a capability list (bit 4).
  var hasCapabilityList: Bool { bytes.count >= Self.headerLength && half(0x06) & 0x10 != 0 }

  /// Whether the capability list was among what could be read.
  var isCapabilityListReadable: Bool { bytes.count >= Self.conventionalLength }

  // MARK: Capability lists

  /// The capability list and, where the bytes reach that far, the extended one.
  func capabilities(problems: inout [String]) -> [PCICapability] {
    guard hasCapabilityList, isCapabilityListReadable else { return [] }
    return conventionalCapabilities(&problems) + extendedCapabilities(&problems)
  }

  private func conventionalCapabilities(_ problems: inout [String]) -> [PCICapability] {
    var found: [PCICapability] = []
    var seen = Set<Int>()
    // A CardBus bridge (header type 2) has the pointer elsewhere. The two lowest bits are reserved.
    var offset = Int(byte(byte(0x0e) & 0x7f == 2 ? 0x14 : 0x34) & 0xfc)
    while offset != 0 {
      guard offset >= Self.headerLength else {
        problems.append("the capability list points into the header, at \(hex(offset))")
        break
      }
      guard seen.insert(offset).inserted else {
        problems.append("the capability list loops back to \(hex(offset))")
        break
      }
      guard byte(offset) != 0xff else {
        problems.append("the capability list breaks off at \(hex(offset)): id 0xff")
        break
      }
      found.append(PCICapability(id: UInt16(byte(offset)), isExtended: false, offset: offset))
      offset = Int(byte(offset + 1) & 0xfc)
    }
    return found
  }

  private func extendedCapabilities(_ problems: inout [String]) -> [PCICapability] {
    guard bytes.count >= Self.extendedLength else { return [] }
    var found: [PCICapability] = []
    var seen = Set<Int>()
    var offset = Self.conventionalLength
    while offset != 0 {
      guard offset >= Self.conventionalLength else {
        problems.append("the extended capability list points out of its area, at \(hex(offset))")
        break
      }
      guard seen.insert(offset).inserted else {
        problems.append("the extended capability list loops back to \(hex(offset))")
        break
      }
      let header = word(offset)
      // An empty list is a header of zeros; a function without one may read as all ones.
      if header == 0 || header == .max { break }
      if header & 0xffff != 0 {
        found.append(PCICapability(id: UInt16(truncatingIfNeeded: header), isExtended: true, offset: offset))
      }
      offset = Int(header >> 20) & ~3
    }
    return found
  }

  /// TotalVFs and NumVFs of the SR-IOV capability (PCI Express, section 9.3.3).
  func virtualFunctions(_ capabilities: [PCICapability]) -> PCIFunction.VirtualFunctions? {
    guard
      let capability = capabilities.first(where: { $0.isExtended && $0.id == PCICapability.singleRootIOV }),
      capability.offset + 0x12 <= bytes.count
    else { return nil }
    return PCIFunction.VirtualFunctions(
      total: Int(half(capability.offset + 0x0e)), enabled: Int(half(capability.offset + 0x10)))
  }

  func hex(_ offset: Int) -> String { "0x" + offset.hexadecimal(2) }
}
