/// `VhostUserShared`, 16 bytes: the UUID of an object that devices share (vhost-user, VhostUserShared message).
package struct SharedObjectPayload: Payload {
  package static let byteCount = 16

  /// The UUID in the order of RFC 4122.
  package var bytes: [UInt8]

  package init(bytes: [UInt8]) {
    precondition(bytes.count == SharedObjectPayload.byteCount)
    self.bytes = bytes
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    bytes = try reader.raw(SharedObjectPayload.byteCount)
  }

  package func write(to writer: inout WireWriter) { writer.append(bytes) }
}
