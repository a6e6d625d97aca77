/// What has happened at a port of a switch. Packets, unless it says otherwise.
public struct SwitchCounters: Sendable, Hashable {
  /// Came from the guest.
  public internal(set) var received: UInt64 = 0
  /// Went to the one port where their destination is.
  public internal(set) var forwarded: UInt64 = 0
  /// Went to all other ports: broadcast, multicast, or to an address that is not known.
  public internal(set) var flooded: UInt64 = 0
  /// Were dropped because their destination is at the port that they came from.
  public internal(set) var filtered: UInt64 = 0
  /// Were dropped because they are no frames, or come from an address that no station can have.
  public internal(set) var invalid: UInt64 = 0
  /// Were dropped because their destination is one that bridges keep to themselves (IEEE 802.1Q, 8.6.3).
  public internal(set) var reserved: UInt64 = 0
  /// Were dropped because whoever has their destination does not receive at the time.
  public internal(set) var unreachable: UInt64 = 0
  /// Were for this guest and were dropped because too many wait for it already.
  public internal(set) var overflowed: UInt64 = 0
  /// Addresses that were learned.
  public internal(set) var learned: UInt64 = 0
  /// Addresses that were learned here and had been at another port.
  public internal(set) var moved: UInt64 = 0
  /// Times that an address was not learned, because the port has as many as it may have.
  public internal(set) var refused: UInt64 = 0

  /// Nothing has happened.
  public init() {}

  /// The counters with their names.
  public var named: [(name: String, value: UInt64)] {
    [
      ("received", received), ("forwarded", forwarded), ("flooded", flooded), ("filtered", filtered),
      ("invalid", invalid), ("reserved", reserved), ("unreachable", unreachable), ("overflowed", overflowed),
      ("learned", learned), ("moved", moved), ("refused", refused),
    ]
  }

  static func += (a: inout SwitchCounters, b: SwitchCounters) {
    a.received &+= b.received
    a.forwarded &+= b.forwarded
    a.flooded &+= b.flooded
    a.filtered &+= b.filtered
    a.invalid &+= b.invalid
    a.reserved &+= b.reserved
    a.unreachable &+= b.unreachable
    a.overflowed &+= b.overflowed
    a.learned &+= b.learned
    a.moved &+= b.moved
    a.refused &+= b.refused
  }
}

/// A port of a switch as it stands.
public struct SwitchPortStatistics: Sendable, Hashable {
  /// The socket whose port it is.
  public let port: String
  /// How many addresses are known to be there, those included that are about to be forgotten.
  public let addresses: Int
  /// What has happened there.
  public let counters: SwitchCounters
}
