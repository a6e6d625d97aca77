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
  }

  /// Takes the next chain.
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
    guard announced(area, from: nextAvail) > 0 else { return nil }
    var memory = memory
    var chain = ChainWalk()
    segments.truncate(to: 0)
    let reason = chain.walk(
      area, at: nextAvail, for: .both, readLimit: .max, writeLimit: .max, hasIndirect: hasIndirect, memory: &memory,
      segments: segments)
    guard reason == .none else {
      fault = reason
      return nil
    }
    guard outstanding + chain.descriptors <= area.size else {
      fault = .chainLoop
      return nil
    }
    nextAvail = area.advance(nextAvail, by: chain.descriptors)
    return Chain(
      id: chain.id, descriptors: UInt16(truncatingIfNeeded: chain.descriptors), length: chain.links,
      readable: chain.readable, writable: chain.writable, readableSegments: chain.readableSegments)
  }

  /// Returns a chain, in any order. ``publishChains()`` announces it.
  ///
  /// - Parameter written: How many bytes were written into its buffers.
  package mutating func returnChain(_ chain: Chain, written: Int) {
    // A chain may have room for more than the field can say; less than was written is right too (virtio 1.2, §2.7.8).
    let length = UInt32(clamping: min(written, chain.writable))
    switch self.memory {
    case .split(let area): use(area, id: chain.id, length: length, descriptors: Int(chain.descriptors))
    case .packed(let area): use(area, id: chain.id, length: length, descriptors: Int(chain.descriptors))
    }
  }

  /// Announces the chains that were returned.
  package mutating func publishChains() {
    switch self.memory {
    case .split(let area): publish(area)
    case .packed(let area): publish(area)
    }
  }
}
