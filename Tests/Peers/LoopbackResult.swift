/// The outcome of traffic through a back-end that gives packets back.
package struct LoopbackResult: Sendable, CustomStringConvertible {
  /// Packets the front-end's rings took.
  package let txPackets: UInt64
  /// Packets that came back.
  package let rxPackets: UInt64
  /// Packets the front-end found no room for. They never left and are no loss.
  package let txDropped: UInt64
  /// Received a second while the traffic ran; of a flood, sent.
  package let packetsPerSecond: Double

  /// Packets taken and not given back; negative when more came back than left.
  package var lost: Int64 { Int64(txPackets) - Int64(rxPackets) }

  package var description: String {
    "\(txPackets) out, \(rxPackets) back, \(lost) lost, \(txDropped) never sent, "
      + "\(Int(packetsPerSecond)) packets/s"
  }
}
