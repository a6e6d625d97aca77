/// What one port forwarded between `start` and `stop`, as `stop` prints it.
package struct ForwardStatistics: Hashable, Sendable {
  package var rxPackets: UInt64 = 0
  package var rxDropped: UInt64 = 0
  /// Packets the ring took.
  package var txPackets: UInt64 = 0
  /// Packets the ring had no room for: the peer never saw them.
  package var txDropped: UInt64 = 0

  package init() {}

  /// Reads the answer to `stop` or `show fwd stats all`.
  package init(parsing answer: String, port: Int) throws(PeerError) {
    // Not the tables a queue, which come first and whose title differs ("Forward Stats for RX Port=").
    guard let title = answer.firstRange(of: "Forward statistics for port \(port) ") else {
      throw PeerError(.badAnswer, "no forward statistics of port \(port) in testpmd's answer", outputTail: answer)
    }
    let rest = answer[title.upperBound...]
    // The closing line of dashes; the opening one stands on the title's own line.
    let afterTitle = rest.drop(while: { !$0.isNewline })
    let section = afterTitle.firstRange(of: "-----").map { afterTitle[..<$0.lowerBound] } ?? afterTitle
    func counter(_ name: String) throws(PeerError) -> UInt64 {
      guard let value = Testpmd.counter(name, in: section) else {
        throw PeerError(.badAnswer, "no counter \(name) of port \(port) in testpmd's answer", outputTail: answer)
      }
      return value
    }
    rxPackets = try counter("RX-packets")
    rxDropped = try counter("RX-dropped")
    txPackets = try counter("TX-packets")
    txDropped = try counter("TX-dropped")
  }
}
