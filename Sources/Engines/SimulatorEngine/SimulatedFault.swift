/// Something that goes wrong with a simulated device on command (``SimulatedDevice/inject(_:once:afterPackets:)``).
public enum SimulatedFault: Sendable, Hashable {
  /// What is wrong with a used entry.
  public enum Corruption: Sendable, Hashable, CaseIterable {
    /// Its id is of no chain: the ring's size.
    case id
    /// Its length is more than any chain has room for: 2³² − 1 bytes.
    case length
  }

  /// An operation fails and does nothing.
  case failure(of: SimulatedOperation)
  /// An operation does nothing for so long, and then what it is to do. The rings are served meanwhile, and other devices
  /// answer.
  case delay(of: SimulatedOperation, milliseconds: Int)
  /// The device looks at no ring and calls nobody. Operations are answered; one that has to leave nothing in flight
  /// finishes what there is.
  case stall
  /// The device is gone, like a card that was pulled out: it reaches no memory from then on, even in the middle of a burst
  /// of which some entries are written and not announced; then it is reported as failed. Operations fail, but for those that
  /// take something away from a device: it cannot write any more, so `close` succeeds, and `unmap`. Where its rings stand
  /// nobody can say: `close` returns no states. It is back, as one that was never configured, when the fault is cleared.
  case vanishing
  /// The next chain that is returned on a vring is returned with a wrong entry.
  case corruptUsedEntry(vring: Int, Corruption)
  /// The device writes to an address that is not in its DMA map, for a vring. It is refused
  /// (``DMAMap/refusedAccesses``), and the vring is broken.
  case strayWrite(vring: Int)
  /// The device does not stop: `close`, `stopVring` and `suspend` fail, and it serves its rings as before.
  case refusalToStop
}
