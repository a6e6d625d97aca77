/// `vring state`, 8 bytes: a ring's index and a number that the request gives its meaning (vhost-user, A vring state
/// description).
package struct VringStatePayload: Payload {
  package static let byteCount = 8

  /// The ring's index, all 32 bits of it: compare it with the number of rings before it is made smaller.
  package var index: UInt32
  /// NUM: the ring's size. BASE: its position. ENABLE: 0 or 1.
  package var number: UInt32

  package init(index: UInt32, number: UInt32 = 0) {
    self.index = index
    self.number = number
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    index = try reader.u32()
    number = try reader.u32()
  }

  package func write(to writer: inout WireWriter) {
    writer.append(index)
    writer.append(number)
  }
}
