/// What has happened on one vring since its device was made. All values count up; sizes are in bytes.
public struct VringStatistics: Sendable, Hashable {
  /// Packets or requests that went through.
  public var packets: UInt64 = 0
  /// Their payload in bytes.
  public var bytes: UInt64 = 0
  /// Packets that were taken from the guest, or were meant for it, and went nowhere.
  public var dropped: UInt64 = 0
  /// Packets that fit into no buffer of the guest, or were longer than any device takes; among ``dropped``.
  public var oversized: UInt64 = 0
  /// Times the guest was seen to have kicked.
  public var kicks: UInt64 = 0
  /// Calls made to the guest.
  public var calls: UInt64 = 0
  /// Calls not made because the guest asked for none.
  public var suppressedCalls: UInt64 = 0
  /// Times the ring was found broken.
  public var broken: UInt64 = 0

  /// Nothing has happened yet.
  public init() {}
}
