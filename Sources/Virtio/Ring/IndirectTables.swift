internal import CLinux

/// The indirect tables of a driver: one for each chain id, in memory that the device can reach (virtio 1.2, §2.7.5.3).
@safe package struct IndirectTables {
  /// The guest address of the first one.
  private let address: UInt64
  private let host: UnsafeMutableRawPointer
  /// The most descriptors in a table.
  package let length: Int
  private let count: Int

  /// How many bytes so many tables take.
  package static func bytes(count: Int, length: Int) -> Int { count * length * 16 }

  /// Tables at a guest address.
  ///
  /// - Parameters:
  ///   - count: How many: the ring's size.
  ///   - length: The most descriptors in each.
  ///   - memory: Its map must be kept alive for as long as the tables are used.
  /// - Throws: ``VirtioError`` `badRingAddress`, when they are not aligned to 16 bytes or not inside one memory region.
  package init(count: Int, length: Int, at address: UInt64, memory: MemoryView) throws(VirtioError) {
    var memory = memory
    guard address % 16 == 0,
      let host = unsafe memory.contiguous(
        at: address, length: IndirectTables.bytes(count: count, length: length), for: .readWrite),
      UInt(bitPattern: host) % 8 == 0
    else {
      throw VirtioError(
        .badRingAddress,
        "the indirect tables at 0x\(String(address, radix: 16)) are not aligned, or not inside one memory region")
    }
    self.address = address
    unsafe self.host = host
    self.length = length
    self.count = count
  }

  /// Writes a table.
  ///
  /// - Returns: Its address.
  func write<A: RingArea>(_ format: A.Type, table: Int, _ descriptors: [RingDescriptor]) -> UInt64 {
    precondition(table >= 0 && table < count && descriptors.count <= length)
    let offset = IndirectTables.bytes(count: table, length: length)
    for (i, descriptor) in descriptors.enumerated() {
      let at = unsafe host + offset + i * 16
      let (low, high) = A.halves(descriptor)
      unsafe clinux_store_u64(at, low)
      unsafe clinux_store_u64(at + 8, high)
    }
    return address + UInt64(offset)
  }
}
