/// Where a vring stands: what one device hands to the next, and what GET_VRING_BASE reports (design §4.1).
public struct VringState: Sendable, Hashable {
  /// The vring's index.
  public var index: Int
  /// The position of the next chain to be fetched (split: the free-running available index; packed: the index of the
  /// descriptor, with the wrap counter in bit 15).
  public var nextAvail: UInt16
  /// The position of the next chain to be returned (split: the free-running used index; packed: as above).
  public var nextUsed: UInt16

  /// A position.
  public init(index: Int, nextAvail: UInt16, nextUsed: UInt16) {
    self.index = index
    self.nextAvail = nextAvail
    self.nextUsed = nextUsed
  }
}
