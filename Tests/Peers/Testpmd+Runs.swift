import Foundation

extension Testpmd.FrontEnd {
  /// What counts in a rate.
  package enum Direction: Sendable {
    case received
    case sent
  }

  /// Lets the running traffic run for `seconds` and returns the packets a second, from two readings of the port's
  /// counters and a monotonic clock. testpmd's own figures are over whatever time lies between two readings, rounded.
  package func rate(_ direction: Direction, seconds: Double) throws(PeerError) -> Double {
    func reading() throws(PeerError) -> (packets: UInt64, at: ContinuousClock.Instant) {
      let before = ContinuousClock.now
      let statistics = try portStatistics()
      // Read somewhere in between.
      let at = before + (ContinuousClock.now - before) / 2
      return (direction == .received ? statistics.rxPackets : statistics.txPackets, at)
    }
    let first = try reading()
    Thread.sleep(forTimeInterval: seconds)
    let second = try reading()
    return Double(second.packets &- first.packets) / ((second.at - first.at) / .seconds(1))
  }

  /// Waits until the port's receive counter stands still for `quiet`, or until it reaches `expected`.
  package func settle(
    expected: ((PortStatistics) -> Bool)? = nil, quiet: Duration = .milliseconds(500),
    timeout: Duration = .seconds(10)
  ) throws(PeerError) -> PortStatistics {
    let deadline = ContinuousClock.now + timeout
    var last = try portStatistics()
    var changed = ContinuousClock.now
    while true {
      if let expected, expected(last) { return last }
      let now = ContinuousClock.now
      if now - changed >= quiet { return last }
      guard now < deadline else {
        throw PeerError(
          .invalidRun, "packets still arrive \(timeout) after the traffic was stopped (\(last.rxPackets) so far)")
      }
      Thread.sleep(forTimeInterval: 0.02)
      let statistics = try portStatistics()
      if statistics.rxPackets != last.rxPackets { changed = .now }
      last = statistics
    }
  }

  /// Sends `bursts` of 32 packets a queue into a back-end that gives them back, forwards what comes for `seconds`, then
  /// stops sending and takes in what is still on its way. Every packet the rings took has to be among them.
  ///
  /// With packets in flight for less than a ring the front-end never finds a ring full; more of them press harder.
  package func loopbackRun(seconds: Double, bursts: Int = 4) throws(PeerError) -> LoopbackResult {
    let before = try portStatistics()
    try setForward(.io)
    try startTxFirst(bursts: bursts)
    let packetsPerSecond = try rate(.received, seconds: seconds)
    let forwarded = try stop()
    return try drain(since: before, txDropped: forwarded.txDropped, packetsPerSecond: packetsPerSecond)
  }

  /// Sends as fast as the rings take packets, for `seconds` and without receiving, into a back-end that gives them
  /// back; then takes in what came back. The back-end soon finds no buffer to give them back in, and has to wait.
  package func floodRun(seconds: Double) throws(PeerError) -> LoopbackResult {
    let before = try portStatistics()
    try setForward(.txonly)
    try start()
    let packetsPerSecond = try rate(.sent, seconds: seconds)
    let forwarded = try stop()
    return try drain(since: before, txDropped: forwarded.txDropped, packetsPerSecond: packetsPerSecond)
  }

  /// Receives until all is back or nothing more comes.
  private func drain(since before: PortStatistics, txDropped: UInt64, packetsPerSecond: Double) throws(PeerError)
    -> LoopbackResult
  {
    try setForward(.rxonly)
    // `start` throws away what the rings hold: the port's counters have it, the forward statistics do not.
    try start()
    let after = try settle(expected: { $0.rxPackets &- before.rxPackets == $0.txPackets &- before.txPackets })
    try stop()
    // Once more: a packet too many would arrive after the count was reached.
    let total = try portStatistics().since(before)
    guard total.txPackets == after.since(before).txPackets, total.rxNoMbuf == 0 else {
      throw PeerError(.invalidRun, "the front-end sent while draining, or ran out of buffers: \(total)")
    }
    guard total.txPackets > 0 else {
      throw PeerError(.invalidRun, "the front-end's rings took no packet", outputTail: session.process.outputTail())
    }
    return LoopbackResult(
      txPackets: total.txPackets, rxPackets: total.rxPackets, txDropped: txDropped, packetsPerSecond: packetsPerSecond)
  }

  /// Sends as fast as the rings take packets, for `seconds`.
  package func sinkRun(seconds: Double) throws(PeerError) -> SinkResult {
    let before = try portStatistics()
    try setForward(.txonly)
    try start()
    let packetsPerSecond = try rate(.sent, seconds: seconds)
    let forwarded = try stop()
    let total = try portStatistics().since(before)
    guard total.txPackets > 0 else {
      throw PeerError(.invalidRun, "the front-end's rings took no packet", outputTail: session.process.outputTail())
    }
    return SinkResult(
      txPackets: total.txPackets, txBytes: total.txBytes, txDropped: forwarded.txDropped, rxPackets: total.rxPackets,
      packetsPerSecond: packetsPerSecond)
  }

  /// Receives for `seconds`. Then `stopSource`, if there is one, has to make the back-end stop sending, and all that
  /// is still in the rings is received as well.
  ///
  /// Both ends' counts are equal when the source started after this front-end was up. DPDK's virtio driver empties the
  /// receive rings uncounted when its port starts, so that of a source which sends from the first moment up to a ring
  /// of packets a queue is missing.
  package func sourceRun(seconds: Double, stopSource: (() throws -> Void)? = nil) throws -> SourceResult {
    // The counts are from the start of the process, as the back-end's are.
    try setForward(.rxonly)
    try start()
    let packetsPerSecond = try rate(.received, seconds: seconds)
    if let stopSource {
      try stopSource()
      _ = try settle()
    }
    try stop()
    let total = try portStatistics()
    return SourceResult(rxPackets: total.rxPackets, rxBytes: total.rxBytes, packetsPerSecond: packetsPerSecond)
  }
}
