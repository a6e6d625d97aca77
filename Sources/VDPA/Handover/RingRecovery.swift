public import Virtio

/// Finds out where a ring stands whose device can no longer say so: it has vanished, or was fenced.
///
/// What it has returned to the guest is in guest memory. In a split ring that tells how far it has come, if it returns what
/// it fetched in the order in which it fetched it. What else it had fetched is served once more: a frame may be sent
/// twice. Of a packed ring, and where the order is any, nobody can tell which chains are still to be returned.
public enum RingRecovery {
  /// A ring that can go on.
  public struct Position: Sendable, Hashable {
    /// Where to go on: with nothing in flight.
    public var state: VringState
    /// How many chains, at most, are served once more.
    public var repeated: Int
  }

  /// Where a ring stands.
  ///
  /// - Parameters:
  ///   - vring: The ring; its state is not looked at.
  ///   - features: What its layout depends on.
  ///   - completesInOrder: Whether its device returns chains in the order in which it fetches them.
  ///   - memory: The guest's memory, which the device no longer writes to.
  /// - Throws: ``VDPAError`` `unrecoverable`, saying why nobody can go on.
  public static func position(
    of vring: VringDescription, features: Features, completesInOrder: Bool, in memory: GuestMemory
  ) throws(VDPAError) -> Position {
    guard RingLayout.Format(for: features) == .split else {
      throw VDPAError(.unrecoverable, "what a device had fetched from a packed ring is not to be seen in it")
    }
    guard completesInOrder else {
      throw VDPAError(.unrecoverable, "the device returned buffers in any order, so nobody knows which it still had")
    }
    var view = memory.addressMap.view
    guard let used = view.readUInt16(at: vring.used + 2), let announced = view.readUInt16(at: vring.avail + 2) else {
      throw VDPAError(.unrecoverable, "the ring's indices are not in guest memory")
    }
    let rest = Int(announced &- used)
    guard rest <= vring.size else {
      throw VDPAError(
        .unrecoverable, "its used index \(used) and its available index \(announced) contradict each other")
    }
    return Position(state: VringState(index: vring.index, nextAvail: used, nextUsed: used), repeated: rest)
  }
}
