/// `vring area`, 24 bytes: a page of a file in which a ring's doorbell lies (vhost-user, Area description).
package struct VringAreaPayload: Payload {
  package static let byteCount = 24
  private static let indexMask: UInt64 = 0xff
  private static let noDescriptor: UInt64 = 1 << 8

  /// The ring's index, at most 255.
  package var index: UInt32
  /// False: the area that was set before is taken back.
  package var hasDescriptor: Bool
  /// Bytes; the page size of the host.
  package var size: UInt64
  /// Where it begins in its file, in bytes.
  package var offset: UInt64

  package init(index: UInt32, hasDescriptor: Bool, size: UInt64 = 0, offset: UInt64 = 0) {
    self.index = index
    self.hasDescriptor = hasDescriptor
    self.size = size
    self.offset = offset
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    let value = try reader.u64()
    guard value & ~(VringAreaPayload.indexMask | VringAreaPayload.noDescriptor) == 0 else {
      throw VhostUserError(.malformed, "reserved bits are set beside the vring index: 0x\(String(value, radix: 16))")
    }
    index = UInt32(value & VringAreaPayload.indexMask)
    hasDescriptor = value & VringAreaPayload.noDescriptor == 0
    size = try reader.u64()
    offset = try reader.u64()
    let end = offset.addingReportingOverflow(size)
    guard !end.overflow, end.partialValue <= UInt64(Int64.max) else {
      throw VhostUserError(.malformed, "a doorbell of \(size) bytes at offset \(offset) is in no file")
    }
  }

  package func write(to writer: inout WireWriter) {
    writer.append(UInt64(index) & VringAreaPayload.indexMask | (hasDescriptor ? 0 : VringAreaPayload.noDescriptor))
    writer.append(size)
    writer.append(offset)
  }
}
