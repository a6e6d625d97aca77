internal import VDPA
internal import Virtio

/// A vring that a device serves. Belongs to the device's thread.
final class ServedVring {
  let index: Int
  var description: VringDescription
  var isEnabled: Bool
  var ring: DeviceRing
  /// What the kick descriptor is registered under; nil when there is none, or none that is watched any more.
  var kickToken: UInt64?
  /// Whether the ring was found broken. Nothing more is fetched from it then; what was fetched before is returned.
  var isBroken = false
  /// Whether it was reported that it waits for a translation.
  var isMissReported = false
  var statistics: VringStatistics
  /// How many descriptors belong to chains that were fetched one by one and not returned.
  private var outstanding = 0
  /// How many pieces of memory they are, and how many there may be before no more are fetched: a guest can make a very long
  /// list of each of its descriptors.
  private var pieces = 0
  private static let maxPieces = 1 << 17

  init(
    _ description: VringDescription, isEnabled: Bool, memory: RingMemory, features: Features,
    statistics: VringStatistics
  ) throws(VirtioError) {
    index = description.index
    self.description = description
    self.isEnabled = isEnabled
    ring = DeviceRing(
      memory, features: features, nextAvail: description.state.nextAvail, nextUsed: description.state.nextUsed)
    if let inflight = description.inflight { try ring.resume(with: inflight) }
    self.statistics = statistics
  }

  /// Where it stands.
  var state: VringState { VringState(index: index, nextAvail: ring.nextAvail, nextUsed: ring.nextUsed) }

  /// Whether it has to be looked at without being kicked.
  var isPolled: Bool { description.kick == nil && !isBroken }

  // MARK: Single chains

  /// Fetches a chain.
  ///
  /// - Parameter list: Whatever is in it is overwritten.
  func fetch(_ view: MemoryView, _ list: SegmentList) -> HeldChain? {
    guard pieces < ServedVring.maxPieces,
      let chain = ring.fetchChain(into: list, memory: view, outstanding: outstanding)
    else { return nil }
    outstanding += Int(chain.descriptors)
    pieces += list.count
    return HeldChain(chain, list)
  }

  /// Where it stands, to come back to.
  var mark: Mark { Mark(ring: ring, outstanding: outstanding, pieces: pieces) }

  struct Mark {
    fileprivate let ring: DeviceRing
    fileprivate let outstanding: Int
    fileprivate let pieces: Int
  }

  /// Makes chains as if they had never been fetched. What was found wrong meanwhile stays so.
  ///
  /// - Parameter mark: From before; nothing has been returned since.
  func rewind(to mark: Mark) {
    let fault = ring.fault
    (ring, outstanding, pieces) = (mark.ring, mark.outstanding, mark.pieces)
    if fault != .none { ring.setFault(fault) }
  }

  /// Returns a chain that was fetched by itself; ``announce()`` announces it.
  ///
  /// - Parameter corruption: What is to be wrong with its entry.
  func give(_ held: HeldChain, written: Int, corruption: SimulatedFault.Corruption?) {
    outstanding -= Int(held.chain.descriptors)
    pieces -= held.pieceCount
    guard corruption == nil else {
      return give(held.chain.id, descriptors: held.chain.descriptors, corruption: corruption)
    }
    ring.returnChain(held.chain, written: written)
  }

  /// Returns a chain that came with a burst, nothing of it written.
  func give(_ id: UInt16, descriptors: UInt16, corruption: SimulatedFault.Corruption?) {
    ring.returnEntry(
      id: corruption == .id ? UInt16(truncatingIfNeeded: ring.size) : id, length: corruption == .length ? .max : 0,
      descriptors: Int(descriptors))
  }

  /// Announces what was returned, and calls the guest if it wants to be called.
  func announce() {
    ring.publishChains()
    call()
  }

  /// Calls the guest if it wants to be called.
  func call() {
    guard ring.wantsCall() else {
      statistics.suppressedCalls &+= 1
      return
    }
    guard let call = description.call else { return }
    if EventFD.signal(call) { statistics.calls &+= 1 } else { statistics.failedCalls &+= 1 }
  }
}
