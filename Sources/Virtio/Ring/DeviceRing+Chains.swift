extension DeviceRing {
  /// A chain that was fetched and stays with the device until it is returned.
  package struct Chain {
    /// The chain's id: split, the index of its head; packed, the buffer id.
    package let id: UInt16
    /// How many descriptors of the ring it takes.
    package let descriptors: UInt16
    /// How many descriptors it has, those of its table in place of the one that names it.
    package let length: Int
    /// The length of the buffers that the device reads, in bytes.
    package let readable: Int
    /// The length of the buffers that the device writes, in bytes.
    package let writable: Int
    /// How many pieces the former are in the list; the others follow.
    package let readableSegments: Int
    /// What stands for it in the in-flight record.
    var entry: UInt16 = 0
  }

  /// Takes the next chain: first those that were in flight when the ring's last server died, then new ones.
  ///
  /// - Parameters:
  ///   - segments: Emptied, and filled with the pieces of the chain's buffers, readable ones first.
  ///   - outstanding: How many descriptors of the ring belong to chains that were fetched and not returned. A guest that
  ///     has no more of them cannot have made another chain of them.
  /// - Returns: nil when there is none, or the ring is broken.
  package mutating func fetchChain(
    into segments: SegmentList, memory: MemoryView, outstanding: Int
  ) -> Chain? {
    switch self.memory {
    case .split(let area): fetch(area, into: segments, memory: memory, outstanding: outstanding)
    case .packed(let area): fetch(area, into: segments, memory: memory, outstanding: outstanding)
    }
  }

  private mutating func fetch<A: RingArea>(
    _ area: A, into segments: SegmentList, memory: MemoryView, outstanding: Int
  ) -> Chain? {
    if let inflight, let recorded = inflight.pending.last {
      return refetch(inflight, recorded, area, into: segments, memory: memory, outstanding: outstanding)
    }
    guard announced(area, from: nextAvail) > 0 else { return nil }
    var memory = memory
    var chain = ChainWalk()
    segments.truncate(to: 0)
    let reason = chain.walk(
      area, at: nextAvail, for: .both, readLimit: .max, writeLimit: .max, hasIndirect: hasIndirect, memory: &memory,
      segments: segments)
    guard reason == .none else {
      hold(reason, memory)
      return nil
    }
    guard outstanding + chain.descriptors <= area.size else {
      fault = .chainLoop
      return nil
    }
    var entry = chain.id
    if let inflight {
      guard let noted = inflight.fetched(area, at: nextAvail, id: chain.id, descriptors: chain.descriptors) else {
        fault = .chainLoop
        return nil
      }
      entry = noted
    }
    nextAvail = area.advance(nextAvail, by: chain.descriptors)
    return Chain(chain, entry: entry)
  }

  /// Returns a chain, in any order. ``publishChains()`` announces it.
  ///
  /// - Parameter written: How many bytes were written into its buffers.
  package mutating func returnChain(_ chain: Chain, written: Int) {
    // A chain may have room for more than the field can say; less than was written is right too (virtio 1.2, §2.7.8).
    let length = UInt32(clamping: min(written, chain.writable))
    inflight?.returned(chain.entry)
    switch self.memory {
    case .split(let area): use(area, id: chain.id, length: length, descriptors: Int(chain.descriptors))
    case .packed(let area):
      use(area, id: chain.id, length: length, descriptors: Int(chain.descriptors))
      // Used descriptors behind one that is not announced yet would be taken for new ones by a driver whose device has
      // died in between and returned another chain in the first one's place: so with a record each is announced at once.
      if inflight != nil { publishChains() }
    }
  }

  /// Announces the chains that were returned.
  package mutating func publishChains() {
    guard let inflight, hasUnpublished else { return publishUsed() }
    inflight.willPublish(nextUsed)
    publishUsed()
    inflight.published(nextUsed)
  }

  private mutating func publishUsed() {
    switch self.memory {
    case .split(let area): publish(area)
    case .packed(let area): publish(area)
    }
  }
}

extension DeviceRing.Chain {
  /// What a walk has found.
  init(_ walk: ChainWalk, entry: UInt16) {
    self.init(
      id: walk.id, descriptors: UInt16(truncatingIfNeeded: walk.descriptors), length: walk.links,
      readable: walk.readable, writable: walk.writable, readableSegments: walk.readableSegments, entry: entry)
  }
}
