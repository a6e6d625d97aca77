internal import CLinux

/// The device side of a ring, split or packed (virtio 1.2, §2.7 and §2.8): whole bursts of packets at a time, or single
/// chains.
///
/// Everything in the ring and everything that its descriptors point to is written by the guest, at any time; see
/// ``ChainWalk`` for how it is read. Anything that no correct driver writes sets ``fault``.
///
/// The loops are written once, generic over ``RingArea``, and compiled for either format. A value of this type belongs
/// to one thread at a time.
package struct DeviceRing {
  /// What a device that uses this, and returns chains in order, can offer of rings.
  package static let features: Features = [
    .version1, .anyLayout, .indirectDescriptors, .eventIndex, .packedRing, .inOrder,
  ]

  /// The ring's memory.
  package private(set) var memory: RingMemory
  /// The position of the next chain to be fetched.
  package internal(set) var nextAvail: UInt16
  /// The position of the next chain to be returned.
  package internal(set) var nextUsed: UInt16
  /// Why the ring is broken.
  package internal(set) var fault = RingFault.none
  /// What the ring waits for: an access to an address that the guest's IOMMU is not known to translate. Nothing is fetched
  /// before memory has changed; then the chain is looked at anew, as if it had never been seen.
  package internal(set) var miss: AddressMap.Miss?

  /// Where single chains are noted while the device has them; nil when nobody asked for that.
  var inflight: (any InflightTracker)?
  /// Where writes to guest memory are noted; nil for nowhere. What a device itself writes into the buffers of single
  /// chains it has to note itself.
  package var log: RingLog?

  let hasIndirect: Bool
  let hasEventIndex: Bool
  /// Whether the driver knows that chains come back in the order in which it has made them available.
  let isInOrder: Bool
  /// Whether addresses are those of the guest's IOMMU, of which any may be unknown.
  private let isTranslated: Bool
  /// Chains that were returned and not announced: where the first of them is, its length, and how far positions moved.
  var firstUnpublished: (position: UInt16, length: UInt32) = (0, 0)
  var unpublished = 0
  var hasUnpublished: Bool { unpublished > 0 }
  /// How far positions have moved since the driver was last asked whether it wants a call. What somebody else returned
  /// before may be unannounced too, so at first everything counts as moved.
  private var uncalled = 1 << 16

  /// A ring that goes on at a position.
  ///
  /// - Parameter features: What was negotiated; indirect tables and event indices are used if they are in there.
  package init(_ memory: RingMemory, features: Features, nextAvail: UInt16, nextUsed: UInt16) {
    self.memory = memory
    // One that no ring of this size has stands for its beginning from here on.
    self.nextAvail = memory.position(nextAvail)
    self.nextUsed = memory.position(nextUsed)
    hasIndirect = features.contains(.indirectDescriptors)
    hasEventIndex = features.contains(.eventIndex)
    isInOrder = features.contains(.inOrder)
    isTranslated = features.contains(.accessPlatform)
  }

  /// The ring is at the same addresses as before in another snapshot of guest memory.
  package mutating func move(to memory: RingMemory) {
    self.memory = memory
    miss = nil
  }

  /// The number of descriptors.
  package var size: Int { memory.size }

  /// Breaks the ring, for a reason that is not in the ring itself.
  package mutating func setFault(_ reason: RingFault) { fault = reason }

  /// How many chains wait to be fetched, counted up to `limit`; 0 for a broken ring. An index that cannot be right
  /// breaks the ring.
  package mutating func pending(limit: Int = PacketBurst.capacity) -> Int {
    switch memory {
    case .split(let area): min(announced(area, from: nextAvail), limit)
    case .packed(let area): count(area, limit: limit)
    }
  }

  /// Whether a chain waits to be fetched; false for a broken ring.
  @inline(__always) package mutating func hasPending() -> Bool {
    switch memory {
    case .split(let area): announced(area, from: nextAvail) > 0
    case .packed(let area): announced(area, from: nextAvail) > 0
    }
  }

  /// How many chains wait to be fetched at most, counted up to `limit`; quicker than ``pending(limit:)``, which knows how
  /// many descriptors each of them has.
  package mutating func pendingAtMost(_ limit: Int) -> Int {
    guard case .packed(let area) = memory else { return pending(limit: limit) }
    guard limit > 0, announced(area, from: nextAvail) > 0 else { return 0 }
    // A driver announces in order: behind the first one that is not there, nothing is.
    var (there, missing) = (1, min(limit, area.size) &+ 1)
    var next = missing &- 1
    while missing &- there > 1 {
      if area.announced(from: area.advance(nextAvail, steps: next &- 1)) > 0 { there = next } else { missing = next }
      next = (there &+ missing) / 2
    }
    return there
  }

  /// How many chains are announced from a position on, as far as one look tells.
  @inline(__always) mutating func announced<A: RingArea>(_ area: A, from position: UInt16) -> Int {
    guard fault == .none, miss == nil else { return 0 }
    let count = area.announced(from: position)
    guard count <= area.size else {
      fault = .availableIndex
      return 0
    }
    return count
  }

  /// The chains of a packed ring are counted by walking over them.
  private func count(_ area: PackedRingArea, limit: Int) -> Int {
    guard fault == .none, miss == nil else { return 0 }
    var position = nextAvail
    var chains = 0
    var descriptors = 0
    while chains < limit && descriptors < area.size && area.announced(from: position) > 0 {
      var index = area.head(at: position)
      var length = 1
      while descriptors &+ length < area.size, case let descriptor = area.descriptor(index), descriptor.hasNext {
        index = area.next(index, descriptor)
        length &+= 1
      }
      position = area.advance(position, by: length)
      descriptors &+= length
      chains &+= 1
    }
    return chains
  }

  /// A chain cannot be taken: the ring is broken, or waits for what has to be translated.
  @inline(never) mutating func hold(_ reason: RingFault, _ memory: MemoryView) {
    if reason == .unmapped && isTranslated, let miss = memory.miss { self.miss = miss } else { fault = reason }
  }

  // MARK: Returning chains

  /// Writes that a chain was used; announced by ``publish(_:)``.
  @inline(__always) mutating func use<A: RingArea>(_ area: A, id: UInt16, length: UInt32, descriptors: Int) {
    let isFirst = unpublished == 0
    if isFirst { firstUnpublished = (nextUsed, length) }
    area.writeUsed(at: nextUsed, id: id, length: length, isFirst: isFirst)
    nextUsed = area.advance(nextUsed, by: descriptors)
    unpublished &+= A.isSequential ? descriptors : 1
  }

  @inline(__always) mutating func publish<A: RingArea>(_ area: A) {
    guard unpublished > 0 else { return }
    area.publishUsed(first: firstUnpublished.position, length: firstUnpublished.length, next: nextUsed)
    if log != nil { noteUsed(area) }
    uncalled = min(uncalled &+ unpublished, 1 << 16)
    unpublished = 0
  }

  @inline(never) private func noteUsed<A: RingArea>(_ area: A) {
    guard let log else { return }
    area.noteUsed(from: firstUnpublished.position, count: unpublished, in: log)
    log.signal()
  }

  // MARK: Notifications

  /// Whether the driver wants a call for what was announced since the last time.
  package mutating func wantsCall() -> Bool {
    // What was announced must be visible before the driver's wish is read, or both sides could sleep.
    clinux_fence()
    defer { uncalled = 0 }
    return switch memory {
    case .split(let area): area.wantsCall(next: nextUsed, unannounced: uncalled, hasEventIndex: hasEventIndex)
    case .packed(let area): area.wantsCall(next: nextUsed, unannounced: uncalled, hasEventIndex: hasEventIndex)
    }
  }

  /// Asks the driver for kicks, or to do without. After asking for them the ring must be looked at once more. Nothing
  /// is written to a broken ring.
  package func setWantsKicks(_ wanted: Bool) {
    guard fault == .none else { return }
    let written =
      switch memory {
      case .split(let area): area.setWantsKicks(wanted, hasEventIndex: hasEventIndex)
      case .packed(let area): area.setWantsKicks(wanted, hasEventIndex: hasEventIndex)
      }
    if let log, !written.isEmpty {
      log.noteUsed(written)
      log.signal()
    }
    if wanted { clinux_fence() }
  }
}
