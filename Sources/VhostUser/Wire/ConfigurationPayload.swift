/// A piece of the configuration space, 12 + n bytes (vhost-user, Virtio device config space).
package struct ConfigurationPayload: Payload {
  /// Bytes of configuration space that can be reached.
  package static let maximumSize = 256
  package static let byteCounts = 12...(12 + maximumSize)

  /// Where the piece begins, in bytes.
  package var offset: UInt32
  /// `VHOST_SET_CONFIG_TYPE_MIGRATION` (1): written to restore a migrated device, read-only fields too; else by the
  /// guest (0).
  package var restoresMigration: Bool
  /// The piece. A read carries as many bytes as it wants, their content means nothing.
  package var bytes: [UInt8]

  package init(offset: UInt32, bytes: [UInt8], restoresMigration: Bool = false) {
    self.offset = offset
    self.restoresMigration = restoresMigration
    self.bytes = bytes
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    offset = try reader.u32()
    let size = try reader.u32()
    let flags = try reader.u32()
    guard flags <= 1 else { throw VhostUserError(.malformed, "unknown configuration flags: \(flags)") }
    restoresMigration = flags == 1
    let limit = UInt32(ConfigurationPayload.maximumSize)
    guard size <= limit, offset <= limit - size else {
      throw VhostUserError(
        .malformed, "\(size) bytes at \(offset) reach beyond the \(limit) bytes of a configuration space")
    }
    bytes = try reader.raw(Int(size))
  }

  package func write(to writer: inout WireWriter) {
    writer.append(offset)
    writer.append(UInt32(bytes.count))
    writer.append(restoresMigration ? 1 : UInt32(0))
    writer.append(bytes)
  }
}
