/// The three parts of a ring, found in memory and checked.
@safe struct RingParts {
  let descriptors: UnsafeMutableRawPointer
  let avail: UnsafeMutableRawPointer
  let used: UnsafeMutableRawPointer

  /// Finds the parts of a ring at guest addresses, as its device reaches them.
  ///
  /// - Parameter memory: Its map must be kept alive for as long as the pointers are used.
  /// - Throws: ``VirtioError`` `badRingAddress`, when a part is misaligned or not inside one memory region.
  init(
    _ layout: RingLayout, descriptor: UInt64, avail: UInt64, used: UInt64, memory: MemoryView
  ) throws(VirtioError) {
    var memory = memory
    func part(
      _ name: String, _ address: UInt64, _ length: Int, _ alignment: UInt64, _ access: AddressMap.Access
    ) throws(VirtioError) -> UnsafeMutableRawPointer {
      guard address % alignment == 0 else {
        throw VirtioError(
          .badRingAddress, "the \(name) at 0x\(String(address, radix: 16)) is not aligned to \(alignment) bytes")
      }
      guard let host = unsafe memory.contiguous(at: address, length: length, for: access) else {
        throw VirtioError(
          .badRingAddress,
          "the \(name) at 0x\(String(address, radix: 16)) (\(length) bytes) does not lie in one memory region")
      }
      guard UInt64(UInt(bitPattern: host)) % alignment == 0 else {
        throw VirtioError(
          .badRingAddress,
          "the \(name) at 0x\(String(address, radix: 16)) is in a memory region that is not aligned to pages")
      }
      return unsafe host
    }
    let names =
      layout.format == .split
      ? ("descriptor table", "available ring", "used ring")
      : ("descriptor ring", "driver event suppression area", "device event suppression area")
    // The device writes the descriptors of a packed ring.
    unsafe descriptors = try part(
      names.0, descriptor, layout.descriptorBytes, RingLayout.descriptorAlignment,
      layout.format == .split ? .read : .readWrite)
    unsafe self.avail = try part(names.1, avail, layout.availBytes, layout.format.availAlignment, .read)
    unsafe self.used = try part(names.2, used, layout.usedBytes, layout.format.usedAlignment, .readWrite)
  }
}
