/// `MMAP`, 40 bytes: a piece of a file in one of the device's shared memory regions (vhost-user, MMAP request).
package struct SharedMapPayload: Payload {
  package static let byteCount = 40
  private static let writable: UInt64 = 1

  /// Which shared memory region.
  package var region: UInt8
  /// Where the piece begins in its file, in bytes.
  package var fileOffset: UInt64
  /// Where it begins in the region, in bytes.
  package var offset: UInt64
  /// Bytes.
  package var size: UInt64
  /// Whether the guest may write there.
  package var isWritable: Bool

  package init(region: UInt8, fileOffset: UInt64, offset: UInt64, size: UInt64, isWritable: Bool) {
    self.region = region
    self.fileOffset = fileOffset
    self.offset = offset
    self.size = size
    self.isWritable = isWritable
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    region = try reader.u8()
    try reader.skip(7)
    fileOffset = try reader.u64()
    offset = try reader.u64()
    size = try reader.u64()
    let flags = try reader.u64()
    guard flags & ~SharedMapPayload.writable == 0 else {
      throw VhostUserError(.malformed, "unknown flags of a shared mapping: 0x\(String(flags, radix: 16))")
    }
    isWritable = flags == SharedMapPayload.writable
    for (what, start) in [("file", fileOffset), ("region", offset)] {
      let end = start.addingReportingOverflow(size)
      guard size > 0, !end.overflow, end.partialValue <= UInt64(Int64.max) else {
        throw VhostUserError(.malformed, "a shared mapping of \(size) bytes at \(start) is in no \(what)")
      }
    }
  }

  package func write(to writer: inout WireWriter) {
    writer.append(region)
    writer.append([UInt8](repeating: 0, count: 7))
    writer.append(fileOffset)
    writer.append(offset)
    writer.append(size)
    writer.append(isWritable ? SharedMapPayload.writable : 0)
  }
}
