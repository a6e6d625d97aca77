/// The outcome of traffic from a back-end that sends by itself.
package struct SourceResult: Sendable, CustomStringConvertible {
  /// Packets received: what the back-end has to have counted, once it was stopped.
  package let rxPackets: UInt64
  /// Bytes of those packets.
  package let rxBytes: UInt64
  /// Received a second while the traffic ran.
  package let packetsPerSecond: Double

  package var description: String { "\(rxPackets) in (\(rxBytes) bytes), \(Int(packetsPerSecond)) packets/s" }
}
