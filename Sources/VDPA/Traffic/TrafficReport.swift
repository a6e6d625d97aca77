/// What became of the packets of one queue pair, or of several together.
public struct TrafficReport: Sendable, Hashable {
  /// Packets handed to the back-end.
  public var sent: UInt64 = 0
  /// Packets that came back as they were sent, each counted once.
  public var received: UInt64 = 0
  /// Packets that did not come back, or only damaged beyond knowing which they were.
  public var lost: UInt64 = 0
  /// Packets that came back more than once.
  public var duplicated: UInt64 = 0
  /// Packets that came back behind one that was sent later.
  public var reordered: UInt64 = 0
  /// Packets with another content than was sent, and such as were never sent.
  public var corrupted: UInt64 = 0
  /// Packets that came back on another queue pair.
  public var misdirected: UInt64 = 0
  /// How often a back-end was gone and another one went on.
  public var reconnects: UInt64 = 0
  /// Packets that a back-end had when it was gone, or of which it cannot be told.
  public var inFlightAtReconnect: UInt64 = 0
  /// Those of them that never came back. Not counted as ``lost``.
  public var lostAtReconnect: UInt64 = 0
  /// Those of them that came back twice, from the old back-end and from the new. Not counted as ``duplicated``.
  public var repeatedAtReconnect: UInt64 = 0
  /// The most buffers that the back-end had to send at one time.
  public var peakInFlight = 0
  /// From sending to receiving, as this end sees it.
  public var latency = LatencyHistogram()

  /// Of no packets.
  public init() {}

  /// Whether nothing went wrong: every packet came back once, in order and as it was, but for those in flight at a
  /// reconnect.
  public var isClean: Bool {
    lost == 0 && duplicated == 0 && reordered == 0 && corrupted == 0 && misdirected == 0
  }

  /// The counters with the names that scripts see, in the order of a table.
  public var counters: [(name: String, value: UInt64)] {
    [
      ("sent", sent), ("received", received), ("lost", lost), ("duplicated", duplicated), ("reordered", reordered),
      ("corrupted", corrupted), ("misdirected", misdirected),
    ]
  }

  /// Adds those of another pair. The peaks are added up as well; reconnects are of the same back-end.
  public mutating func merge(_ other: TrafficReport) {
    sent += other.sent
    received += other.received
    lost += other.lost
    duplicated += other.duplicated
    reordered += other.reordered
    corrupted += other.corrupted
    misdirected += other.misdirected
    reconnects = max(reconnects, other.reconnects)
    inFlightAtReconnect += other.inFlightAtReconnect
    lostAtReconnect += other.lostAtReconnect
    repeatedAtReconnect += other.repeatedAtReconnect
    peakInFlight += other.peakInFlight
    latency.merge(other.latency)
  }
}
