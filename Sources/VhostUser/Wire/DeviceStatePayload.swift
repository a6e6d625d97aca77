/// `device state`, 8 bytes: which way the device's own state goes, and when (vhost-user, Device state transfer parameters).
package struct DeviceStatePayload: Payload {
  /// Which way the state goes.
  package enum Direction: UInt32, Sendable {
    /// From the back-end, on the source.
    case save = 0
    /// To the back-end, on the destination.
    case load = 1
  }

  package static let byteCount = 8

  package var direction: Direction

  package init(_ direction: Direction) { self.direction = direction }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    let direction = try reader.u32()
    let phase = try reader.u32()
    guard let known = Direction(rawValue: direction) else {
      throw VhostUserError(.malformed, "unknown direction \(direction) of a device state")
    }
    guard phase == 0 else {
      throw VhostUserError(.malformed, "unknown phase \(phase) of a device state transfer; 0, stopped, is the only one")
    }
    self.direction = known
  }

  package func write(to writer: inout WireWriter) {
    writer.append(direction.rawValue)
    writer.append(UInt32(0))
  }
}
