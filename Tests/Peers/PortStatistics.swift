/// The counters of one port, as `show port stats` prints them. They count from the start of the process and include
/// what testpmd throws away when it starts forwarding, which the forward statistics do not.
package struct PortStatistics: Hashable, Sendable {
  package var rxPackets: UInt64 = 0
  package var rxBytes: UInt64 = 0
  package var rxMissed: UInt64 = 0
  package var rxErrors: UInt64 = 0
  /// Packets not received because there was no buffer for them.
  package var rxNoMbuf: UInt64 = 0
  package var txPackets: UInt64 = 0
  package var txBytes: UInt64 = 0
  package var txErrors: UInt64 = 0

  package init() {}

  /// Reads the answer to `show port stats`; a port that is not in it is an error, and so is a missing counter.
  package init(parsing answer: String, port: Int) throws(PeerError) {
    guard let title = answer.firstRange(of: "NIC statistics for port \(port) ") else {
      throw PeerError(.badAnswer, "no statistics of port \(port) in testpmd's answer", outputTail: answer)
    }
    let rest = answer[title.upperBound...]
    let section = rest.firstRange(of: "NIC statistics for port").map { rest[..<$0.lowerBound] } ?? rest
    func counter(_ name: String) throws(PeerError) -> UInt64 {
      guard let value = Testpmd.counter(name, in: section) else {
        throw PeerError(.badAnswer, "no counter \(name) of port \(port) in testpmd's answer", outputTail: answer)
      }
      return value
    }
    rxPackets = try counter("RX-packets")
    rxBytes = try counter("RX-bytes")
    rxMissed = try counter("RX-missed")
    rxErrors = try counter("RX-errors")
    rxNoMbuf = try counter("RX-nombuf")
    txPackets = try counter("TX-packets")
    txBytes = try counter("TX-bytes")
    txErrors = try counter("TX-errors")
  }

  /// What was counted since `earlier`.
  package func since(_ earlier: PortStatistics) -> PortStatistics {
    var difference = PortStatistics()
    difference.rxPackets = rxPackets &- earlier.rxPackets
    difference.rxBytes = rxBytes &- earlier.rxBytes
    difference.rxMissed = rxMissed &- earlier.rxMissed
    difference.rxErrors = rxErrors &- earlier.rxErrors
    difference.rxNoMbuf = rxNoMbuf &- earlier.rxNoMbuf
    difference.txPackets = txPackets &- earlier.txPackets
    difference.txBytes = txBytes &- earlier.txBytes
    difference.txErrors = txErrors &- earlier.txErrors
    return difference
  }
}

extension Testpmd {
  /// The number after `name:` in a table of counters.
  static func counter(_ name: String, in text: Substring) -> UInt64? {
    guard let label = text.firstRange(of: name + ":") else { return nil }
    return UInt64(text[label.upperBound...].drop(while: { $0 == " " }).prefix(while: { $0.isASCII && $0.isNumber }))
  }
}
