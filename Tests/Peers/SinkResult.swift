/// The outcome of traffic into a back-end that keeps every packet.
package struct SinkResult: Sendable, CustomStringConvertible {
  /// Packets the front-end's rings took: what the back-end has to have counted once it has caught up.
  package let txPackets: UInt64
  /// Bytes of those packets.
  package let txBytes: UInt64
  /// Packets the front-end found no room for.
  package let txDropped: UInt64
  /// Packets that came back, which a sink does not send.
  package let rxPackets: UInt64
  /// Taken a second while the traffic ran.
  package let packetsPerSecond: Double

  package var description: String {
    "\(txPackets) out (\(txBytes) bytes), \(txDropped) never sent, \(Int(packetsPerSecond)) packets/s"
  }
}
