/// Where a vring stands: what one device hands to the next, and what GET_VRING_BASE reports (design §4.1).
public struct VringState: Sendable, Hashable {
  /// The vring's index.
  public var index: Int
  /// The position of the next entry of the available ring to be fetched (split: the free-running available index).
  public var nextAvail: UInt16
  /// The position of the next entry of the used ring to be written (split: the free-running used index).
  public var nextUsed: UInt16

  /// A position.
  public init(index: Int, nextAvail: UInt16, nextUsed: UInt16) {
    self.index = index
    self.nextAvail = nextAvail
    self.nextUsed = nextUsed
  }
}
