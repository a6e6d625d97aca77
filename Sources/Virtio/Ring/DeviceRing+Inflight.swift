extension DeviceRing {
  /// Takes over a record of the chains in flight: what it says was fetched and not returned is fetched again before
  /// anything new, in the same order, and what is fetched from now on is noted in it.
  ///
  /// Whatever position the ring was made with, it goes on where the record says.
  ///
  /// - Throws: ``VirtioError`` `badInflightRecord`, when what stands in the record was written by no back-end.
  package mutating func resume(with queue: InflightQueue) throws(VirtioError) {
    let position = (nextAvail, nextUsed)
    let tracker: any InflightTracker =
      switch memory {
      case .split(let area): try SplitInflight(queue, ringSize: area.size, position: position)
      case .packed(let area): try PackedInflight(queue, area: area, position: position)
      }
    // What is gone reads as zeroes, like a record that nobody has used yet.
    if let loss = queue.record.loss { throw VirtioError(.badInflightRecord, loss) }
    (nextAvail, nextUsed) = tracker.start
    inflight = tracker
  }

  /// How many chains are still to be fetched again; 0 for a ring that is broken, or waits for a translation.
  package var resubmissions: Int { fault == .none && miss == nil ? inflight?.pending.count ?? 0 : 0 }

  /// Why chains that are fetched are noted in vain, in words; nil while they are not.
  package var recordLoss: String? { inflight?.queue.record.loss }

  /// Fetches a chain again. A split ring still has its descriptors, which are the driver's until they are returned; those
  /// of a packed one are in the record.
  mutating func refetch<A: RingArea>(
    _ inflight: any InflightTracker, _ recorded: InflightChain, _ area: A, into segments: SegmentList,
    memory: MemoryView, outstanding: Int
  ) -> Chain? {
    guard fault == .none, miss == nil else { return nil }
    var memory = memory
    var chain = ChainWalk()
    segments.truncate(to: 0)
    var reason: RingFault
    if A.isSequential {
      let copies = DescriptorCopies(recorded.descriptors)
      reason = chain.walk(
        copies.area, at: RingLayout.packedStart, for: .both, readLimit: .max, writeLimit: .max,
        hasIndirect: hasIndirect, memory: &memory, segments: segments)
      withExtendedLifetime(copies) {}
      if reason == .none && chain.descriptors != recorded.descriptors.count { reason = .inflightRecord }
    } else {
      reason = chain.walk(
        area, at: 0, head: Int(recorded.entry), for: .both, readLimit: .max, writeLimit: .max,
        hasIndirect: hasIndirect, memory: &memory, segments: segments)
    }
    if reason == .none && outstanding + chain.descriptors > area.size { reason = .chainLoop }
    guard reason == .none else {
      hold(reason, memory)
      return nil
    }
    inflight.pending.removeLast()
    return Chain(chain, entry: recorded.entry)
  }
}
