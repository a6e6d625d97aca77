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
    func find(_ part: RingLayout.Part) throws(VirtioError) -> UnsafeMutableRawPointer {
      var place: String { "the \(part.name) at 0x\(String(part.address, radix: 16))" }
      guard part.address % part.alignment == 0 else {
        throw VirtioError(.badRingAddress, "\(place) is not aligned to \(part.alignment) bytes")
      }
      guard let host = unsafe memory.contiguous(at: part.address, length: part.length, for: part.access) else {
        throw VirtioError(.badRingAddress, "\(place) (\(part.length) bytes) does not lie in one memory region")
      }
      guard UInt64(UInt(bitPattern: host)) % part.alignment == 0 else {
        throw VirtioError(.badRingAddress, "\(place) is in a memory region that is not aligned to pages")
      }
      return unsafe host
    }
    let parts = layout.parts(descriptor: descriptor, avail: avail, used: used)
    unsafe descriptors = try find(parts[0])
    unsafe self.avail = try find(parts[1])
    unsafe self.used = try find(parts[2])
  }
}
