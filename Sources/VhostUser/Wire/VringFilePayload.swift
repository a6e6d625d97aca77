/// The u64 of SET_VRING_KICK, CALL and ERR: a ring's index and whether a descriptor comes along (vhost-user,
/// VHOST_USER_SET_VRING_KICK).
package struct VringFilePayload: Payload {
  package static let byteCount = 8
  private static let indexMask: UInt64 = 0xff
  private static let noDescriptor: UInt64 = 1 << 8

  /// The ring's index, at most 255.
  package var index: UInt32
  /// False: no descriptor is attached, the ring is polled (kick) or calls nobody (call).
  package var hasDescriptor: Bool

  package init(index: UInt32, hasDescriptor: Bool) {
    self.index = index
    self.hasDescriptor = hasDescriptor
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    let value = try reader.u64()
    guard value & ~(VringFilePayload.indexMask | VringFilePayload.noDescriptor) == 0 else {
      throw VhostUserError(.malformed, "reserved bits are set beside the vring index: 0x\(String(value, radix: 16))")
    }
    index = UInt32(value & VringFilePayload.indexMask)
    hasDescriptor = value & VringFilePayload.noDescriptor == 0
  }

  package func write(to writer: inout WireWriter) {
    writer.append(UInt64(index) & VringFilePayload.indexMask | (hasDescriptor ? 0 : VringFilePayload.noDescriptor))
  }

  /// Refuses a message whose descriptors are not what it says.
  package func check(descriptors count: Int) throws(VhostUserError) {
    guard hasDescriptor == (count == 1) else {
      throw VhostUserError(
        hasDescriptor ? .missingDescriptor : .tooManyDescriptors,
        hasDescriptor ? "no descriptor came along" : "a descriptor came with a message that says it has none"
      ).with(ring: Int(index))
    }
  }
}
