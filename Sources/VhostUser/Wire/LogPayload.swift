/// `log`, 16 bytes: which part of a shared file is the dirty log (vhost-user, Log description).
package struct LogPayload: Payload {
  package static let byteCount = 16

  /// Bytes of bitmap; one bit a page of 4096 bytes.
  package var size: UInt64
  /// Where the bitmap begins in its file, in bytes.
  package var offset: UInt64

  package init(size: UInt64, offset: UInt64) {
    self.size = size
    self.offset = offset
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    size = try reader.u64()
    offset = try reader.u64()
    let end = offset.addingReportingOverflow(size)
    // The end of a file is an off_t: signed.
    guard size > 0, !end.overflow, end.partialValue <= UInt64(Int64.max) else {
      throw VhostUserError(.malformed, "a dirty log of \(size) bytes at offset \(offset) is in no file")
    }
  }

  package func write(to writer: inout WireWriter) {
    writer.append(size)
    writer.append(offset)
  }
}
