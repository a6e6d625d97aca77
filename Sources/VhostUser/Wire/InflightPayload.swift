/// `inflight`, 24 bytes: the shared record of the requests in flight (vhost-user, Inflight description).
package struct InflightPayload: Payload {
  package static let byteCount = 24

  /// Bytes of the file that are the record; 0 in a request for one.
  package var size: UInt64
  /// Where it begins in its file, in bytes.
  package var offset: UInt64
  /// How many rings it has room for.
  package var queues: UInt16
  /// The descriptors of each ring.
  package var queueSize: UInt16

  package init(size: UInt64 = 0, offset: UInt64 = 0, queues: UInt16, queueSize: UInt16) {
    self.size = size
    self.offset = offset
    self.queues = queues
    self.queueSize = queueSize
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    size = try reader.u64()
    offset = try reader.u64()
    queues = try reader.u16()
    queueSize = try reader.u16()
    try reader.skip(4)
    let end = offset.addingReportingOverflow(size)
    guard !end.overflow, end.partialValue <= UInt64(Int64.max) else {
      throw VhostUserError(.malformed, "an in-flight record of \(size) bytes at offset \(offset) is in no file")
    }
  }

  package func write(to writer: inout WireWriter) {
    writer.append(size)
    writer.append(offset)
    writer.append(queues)
    writer.append(queueSize)
    writer.append(UInt32(0))
  }
}
