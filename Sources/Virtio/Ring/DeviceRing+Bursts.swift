internal import CLinux

extension DeviceRing {
  // MARK: From the guest

  /// Copies packets out of the guest's buffers into `burst`, behind those that are there.
  ///
  /// Their chains stay with the device until ``complete(_:first:count:)`` or ``giveBack(_:first:)``.
  ///
  /// - Parameters:
  ///   - limit: The most packets to take.
  ///   - headerLength: A chain with less is a fault.
  ///   - keepsHeaders: Whether the headers are wanted. If not, they are zero in the burst whatever the guest has written.
  /// - Returns: How many packets were taken.
  package mutating func dequeueBurst(
    into burst: PacketBurst, limit: Int, memory: MemoryView, headerLength: Int, keepsHeaders: Bool = true
  ) -> Int {
    switch self.memory {
    case .split(let area):
      dequeue(
        area, into: burst, limit: limit, memory: memory, headerLength: headerLength, keepsHeaders: keepsHeaders)
    case .packed(let area):
      dequeue(
        area, into: burst, limit: limit, memory: memory, headerLength: headerLength, keepsHeaders: keepsHeaders)
    }
  }

  private mutating func dequeue<A: RingArea>(
    _ area: A, into burst: PacketBurst, limit: Int, memory: MemoryView, headerLength: Int, keepsHeaders: Bool
  ) -> Int {
    burst.setHeaderLength(headerLength)
    let wanted = min(limit, PacketBurst.capacity &- burst.count)
    let longest = burst.limit(headerLength: headerLength)
    burst.prepareIntake(wanted)
    var position = nextAvail
    var announced = 0
    var taken = 0
    var visits = 0
    while taken < wanted && visits < PacketBurst.maxVisits {
      if announced == 0 {
        announced = self.announced(area, from: position)
        guard announced > 0 else { break }
      }
      let run = takeRun(
        area, from: &position, most: A.isSequential ? wanted &- taken : min(wanted &- taken, announced), into: burst,
        memory: memory, headerLength: headerLength, longest: longest, keepsHeaders: keepsHeaders)
      if run > 0 {
        announced = A.isSequential ? 0 : announced &- run
        taken &+= run
        visits &+= run
        continue
      }
      let visited = takeChain(
        area, from: &position, into: burst, memory: memory, headerLength: headerLength, longest: longest,
        keepsHeaders: keepsHeaders)
      guard visited > 0 else { break }
      announced &-= 1
      taken &+= 1
      visits &+= visited
    }
    nextAvail = position
    return taken
  }

  /// Takes a packet in a chain of any form.
  ///
  /// - Returns: How many descriptors were looked at; 0 when it cannot be taken.
  @inline(never) private mutating func takeChain<A: RingArea>(
    _ area: A, from position: inout UInt16, into burst: PacketBurst, memory: MemoryView, headerLength: Int,
    longest: Int, keepsHeaders: Bool
  ) -> Int {
    guard let start = burst.place(headerLength: headerLength) else { return 0 }
    var memory = memory
    let segments = burst.segments
    segments.truncate(to: 0)
    var chain = ChainWalk()
    let reason = chain.walk(
      area, at: position, for: .read, readLimit: longest, writeLimit: 0, hasIndirect: hasIndirect, memory: &memory,
      segments: segments)
    guard reason == .none else {
      hold(reason, memory)
      return 0
    }
    guard chain.readable >= headerLength else {
      fault = .shortBuffer
      return 0
    }
    let isOversized = chain.readable > longest
    if !isOversized { burst.gather(at: start, count: chain.readable) }
    burst.add(
      PacketBurst.Slot(
        payload: start &+ headerLength, headerLength: headerLength, length: isOversized ? 0 : chain.readable,
        id: chain.id, descriptors: UInt16(truncatingIfNeeded: chain.descriptors),
        links: UInt16(truncatingIfNeeded: chain.links), outcome: isOversized ? .oversized : .pending))
    if !keepsHeaders { burst.clearHeader(of: burst.count &- 1, length: headerLength) }
    position = area.advance(position, by: chain.descriptors)
    return chain.visits
  }

  /// Returns the chains of packets to the driver, all read, none written, and announces them. What was fetched
  /// before the ring was found broken is finished like everything else, or it would be lost to whoever goes on with it.
  ///
  /// - Parameters:
  ///   - first: The first packet of the burst to complete.
  ///   - count: How many.
  package mutating func complete(_ burst: PacketBurst, first: Int, count: Int) {
    switch self.memory {
    case .split(let area): complete(area, burst, first: first, count: count)
    case .packed(let area): complete(area, burst, first: first, count: count)
    }
  }

  private mutating func complete<A: RingArea>(_ area: A, _ burst: PacketBurst, first: Int, count: Int) {
    let packets = burst.packets(from: first, count: count)
    if isInOrder && count > 1 {
      // The last one of a batch stands for all of them (virtio 1.2, §2.7.9 and §2.8.8).
      if unpublished == 0 { firstUnpublished = (nextUsed, 0) }
      area.writeUsed(at: nextUsed, id: packets[count &- 1].id, length: 0, isFirst: unpublished == 0)
      var descriptors = 0
      if A.isSequential { for i in 0..<count { descriptors &+= Int(packets[i].descriptors) } }
      if descriptors <= area.size {
        let steps = A.isSequential ? descriptors : count
        nextUsed = area.advance(nextUsed, steps: steps)
        unpublished &+= steps
      } else {
        // Of chains that a driver changes meanwhile there may be more than the ring has.
        for i in 0..<count { nextUsed = area.advance(nextUsed, by: Int(packets[i].descriptors)) }
        unpublished &+= descriptors
      }
    } else {
      guard count > 0 else { return }
      if unpublished == 0 { firstUnpublished = (nextUsed, 0) }
      var written = 0
      repeat {
        let used = area.stretch(from: nextUsed)
        var steps = 0
        if unpublished == 0 {
          used.writeUsed(0, id: packets[0].id, length: 0, isWritten: false, isFirst: true)
          (written, steps) = (1, A.isSequential ? Int(packets[0].descriptors) : 1)
        }
        let moved = used.complete(packets.dropFirst(written), from: steps)
        written &+= moved.count
        nextUsed = area.advance(nextUsed, steps: moved.end)
        unpublished &+= moved.end
      } while written < count
    }
    publish(area)
  }

  /// Puts the chains of the packets from `first` on back, as if they had never been seen. They are the last ones that
  /// were fetched.
  package mutating func giveBack(_ burst: PacketBurst, first: Int) {
    nextAvail = memory.position(of: first, in: burst, nextAvail: nextAvail)
  }

  // MARK: To the guest

  /// Writes packets into the guest's buffers, in order, and announces them.
  ///
  /// Each packet taken gets its outcome: delivered, or undeliverable if no number of this guest's buffers can hold it;
  /// one that was too long to be copied is passed over.
  /// The first packet for which the guest has not given enough buffers yet ends the burst.
  ///
  /// - Parameters:
  ///   - first: The first packet of the burst to send. Of the headers, only `num_buffers` is written here.
  ///   - mergeable: Whether a packet may fill several buffers (`VIRTIO_NET_F_MRG_RXBUF`).
  /// - Returns: How many packets were taken.
  package mutating func enqueueBurst(
    from burst: PacketBurst, first: Int, memory: MemoryView, headerLength: Int, mergeable: Bool
  ) -> Int {
    // Without a header's length one that was too long could not be told from one without a payload.
    precondition(first >= 0 && headerLength > 0)
    burst.setHeaderLength(headerLength)
    if let log {
      return enqueue(burst, first, memory: memory, headerLength: headerLength, mergeable: mergeable, notes: log)
    }
    return enqueue(burst, first, memory: memory, headerLength: headerLength, mergeable: mergeable, notes: NoNotes())
  }

  @inline(__always) private mutating func enqueue(
    _ burst: PacketBurst, _ first: Int, memory: MemoryView, headerLength: Int, mergeable: Bool, notes: some WriteNotes
  ) -> Int {
    switch self.memory {
    case .split(let area):
      enqueue(area, burst, first, memory: memory, headerLength: headerLength, mergeable: mergeable, notes: notes)
    case .packed(let area):
      enqueue(area, burst, first, memory: memory, headerLength: headerLength, mergeable: mergeable, notes: notes)
    }
  }

  private mutating func enqueue<A: RingArea>(
    _ area: A, _ burst: PacketBurst, _ first: Int, memory: MemoryView, headerLength: Int, mergeable: Bool,
    notes: some WriteNotes
  ) -> Int {
    var visits = 0
    var index = first
    while index < burst.count && visits < PacketBurst.maxVisits {
      let announced =
        A.isSequential ? (fault == .none && miss == nil ? .max : 0) : announced(area, from: nextAvail)
      let run = giveRun(
        area, burst, first: index, most: announced, memory: memory, headerLength: headerLength, notes: notes)
      if run > 0 {
        index &+= run
        visits &+= run
        continue
      }
      if burst[index].outcome != .oversized {
        let outcome = scatter(
          area, burst, index, memory: memory, headerLength: headerLength, mergeable: mergeable, visits: &visits)
        guard outcome != .pending else { break }
        if outcome == .delivered { notes.note(burst.segments) }
      }
      index &+= 1
    }
    publish(area)
    return index &- first
  }

  /// Finds room for one packet and copies it. Nothing is written before there is room for all of it.
  ///
  /// - Returns: `pending` when the packet has to wait, or the ring is broken.
  @inline(never) private mutating func scatter<A: RingArea>(
    _ area: A, _ burst: PacketBurst, _ packet: Int, memory: MemoryView, headerLength: Int, mergeable: Bool,
    visits: inout Int
  ) -> PacketBurst.Outcome {
    var memory = memory
    let slot = burst[packet]
    let segments = burst.segments
    segments.truncate(to: 0)
    var position = nextAvail
    var announced = 0
    var rest = slot.length
    var buffers = 0
    var descriptors = 0
    var links = 0
    while rest > 0 {
      if announced == 0 {
        announced = self.announced(area, from: position)
        guard announced > 0 else {
          // A guest whose descriptors are all here cannot give more of them.
          guard fault == .none && descriptors == area.size else { return .pending }
          burst.setOutcome(.undeliverable, targetLinks: UInt16(truncatingIfNeeded: links), of: packet)
          return .undeliverable
        }
      }
      var chain = ChainWalk()
      let reason = chain.walk(
        area, at: position, for: .write, readLimit: 0, writeLimit: rest, hasIndirect: hasIndirect, memory: &memory,
        segments: segments)
      visits &+= chain.visits
      links &+= chain.links
      descriptors &+= chain.descriptors
      // Chains that are available at the same time share no descriptor, so the ring's size bounds all of a packet's
      // chains together. Without that, a thousand heads of one long chain cost millions of visits in each burst; so do
      // a thousand long tables of which each has room for a byte.
      let limit = ChainWalk.maxIndirect &* 64
      guard reason == .none, descriptors <= area.size, visits <= limit,
        chain.writable >= (buffers == 0 ? headerLength : 1)
      else {
        let isLoop = descriptors > area.size || visits > limit
        hold(reason != .none ? reason : isLoop ? .chainLoop : .shortBuffer, memory)
        return .pending
      }
      let written = min(chain.writable, rest)
      burst.setBuffer(
        buffers,
        PacketBurst.Buffer(
          length: UInt32(truncatingIfNeeded: written), id: chain.id,
          descriptors: UInt16(truncatingIfNeeded: chain.descriptors)))
      position = area.advance(position, by: chain.descriptors)
      announced &-= 1
      buffers &+= 1
      rest &-= written
      if rest > 0 && !mergeable {
        burst.setOutcome(.undeliverable, targetLinks: UInt16(truncatingIfNeeded: links), of: packet)
        return .undeliverable
      }
    }
    if headerLength == NetHeader.modernLength { burst.setBufferCount(buffers, of: slot) }
    burst.scatter(slot)
    for i in 0..<buffers {
      let buffer = burst.buffer(i)
      use(area, id: buffer.id, length: buffer.length, descriptors: Int(buffer.descriptors))
    }
    nextAvail = position
    burst.setOutcome(.delivered, targetLinks: UInt16(truncatingIfNeeded: links), of: packet)
    return .delivered
  }
}
