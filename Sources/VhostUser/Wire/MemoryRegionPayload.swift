/// A memory region, 32 bytes (vhost-user, Memory region description).
///
/// A decoded region neither is empty nor wraps around in any of its address spaces. Overlap, page alignment and the
/// file's size are checked where it is mapped.
package struct MemoryRegionPayload: Payload {
  package static let byteCount = 32

  /// Where the guest sees it.
  package var guestAddress: UInt64
  /// Bytes.
  package var size: UInt64
  /// Where the front-end sees it.
  package var userAddress: UInt64
  /// Where it begins in its file, in bytes.
  package var mapOffset: UInt64

  package init(guestAddress: UInt64, size: UInt64, userAddress: UInt64, mapOffset: UInt64) {
    self.guestAddress = guestAddress
    self.size = size
    self.userAddress = userAddress
    self.mapOffset = mapOffset
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    guestAddress = try reader.u64()
    size = try reader.u64()
    userAddress = try reader.u64()
    mapOffset = try reader.u64()
    guard size > 0 else { throw VhostUserError(.badMemory, "an empty memory region at \(hex(guestAddress))") }
    for (what, start) in [("guest address", guestAddress), ("user address", userAddress)]
    where start.addingReportingOverflow(size).overflow {
      throw VhostUserError(.badMemory, "a memory region wraps around: \(what) \(hex(start)), size \(hex(size))")
    }
    // The end of a file is an off_t: signed.
    let end = mapOffset.addingReportingOverflow(size)
    guard !end.overflow, end.partialValue <= UInt64(Int64.max) else {
      throw VhostUserError(
        .badMemory, "a memory region ends beyond any file: offset \(hex(mapOffset)), size \(hex(size))")
    }
  }

  package func write(to writer: inout WireWriter) {
    writer.append(guestAddress)
    writer.append(size)
    writer.append(userAddress)
    writer.append(mapOffset)
  }
}

private func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
