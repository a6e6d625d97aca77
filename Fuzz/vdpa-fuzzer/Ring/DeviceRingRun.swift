internal import Virtio

/// The steps of a device on one ring for one input, and what must hold after each of them.
struct DeviceRingRun {
  /// What a record with the walker's bit stands for. Other numbers stand for one of these, too.
  enum Step: UInt8, CaseIterable {
    /// Up to `a` packets are taken out of the ring.
    case dequeue
    /// `a` and one of the packets taken are returned.
    case complete
    /// `a` and one of the packets taken last are put back.
    case giveBack
    /// `a` and one packets of a length are sent.
    case enqueue
    /// The packets taken last, all returned, are sent back.
    case echo
    /// Up to `a` chains are counted.
    case pending
    case wantsCall
    /// `a` says whether.
    case setWantsKicks
    /// The ring goes on as after a reset, `a` chains behind the driver.
    case restart
    /// A piece of memory is looked up.
    case lookUp
    /// Up to `b` chains are looked at, with `a` descriptors fetched already.
    case fetch
  }

  static let defaultSteps = [Step.dequeue, .complete, .enqueue].map {
    Record(kind: Record.walker | $0.rawValue, a: 31, d: Record.length(1500))
  }

  private var ring: DeviceRing
  private let place: RingPlacement
  private let memory: FuzzMemory
  private let features: Features
  private let headerLength: Int
  private let incoming: PacketBurst
  private let outgoing: PacketBurst
  private let segments: SegmentList
  /// Whether nobody else writes: then every byte that changes has to be accounted for.
  private let isAlone: Bool
  private let isLogged: Bool
  /// How many of `incoming` have been returned.
  private var returned = 0

  init(
    _ ring: RingMemory, _ place: RingPlacement, _ memory: FuzzMemory, _ input: FuzzInput,
    _ bursts: DeviceRingTarget.Bursts, isAlone: Bool
  ) {
    features = input.features
    self.ring = DeviceRing(
      ring, features: features, nextAvail: place.first,
      nextUsed: place.format == .split ? place.first &- input.lag : place.first)
    self.place = place
    self.memory = memory
    headerLength = input.headerLength
    incoming = bursts.incoming
    outgoing = bursts.outgoing
    segments = bursts.segments
    self.isAlone = isAlone
    isLogged = input.bits.contains(.logged)
    attachLog()
  }

  private mutating func attachLog() {
    if isLogged { ring.log = RingLog(memory.log, memory: memory.guest, used: place.parts[2]) }
  }

  /// What the step has written so far is noted.
  private func requireNoted(by step: StaticString) {
    if isAlone && isLogged { memory.requireNoted(by: step) }
  }

  /// As after a reset of the device by its driver, `lag` chains behind wherever the driver is.
  mutating func restart(behind lag: UInt16, round: UInt8) {
    let position =
      place.format == .split
      ? memory.load(place.availIndex) &- UInt16(Int(lag) % (place.size * 2))
      : place.advance(place.first ^ UInt16(round & 1) << 15, by: Int(lag) % place.size)
    ring = DeviceRing(ring.memory, features: features, nextAvail: position, nextUsed: position)
    attachLog()
    incoming.clear()
    returned = 0
  }

  mutating func step(_ r: Record) {
    let fault = ring.fault
    switch Step(rawValue: (r.kind & 0x7f) % UInt8(Step.allCases.count)) ?? .dequeue {
    case .dequeue: dequeue(limit: Int(r.a) % 40)
    case .complete: complete(Int(r.a) + 1)
    case .giveBack: giveBack(Int(r.a) + 1)
    case .enqueue: enqueue(count: Int(r.a) + 1, length: Int(r.length))
    case .echo: echo()
    case .pending:
      let pending = Oracle.bounded("pending") { ring.pending(limit: Int(r.a)) }
      let most = min(place.size, Int(r.a))
      Oracle.require(pending >= 0 && pending <= most, "\(pending) chains wait, at most \(most) can")
      check("pending")
    case .wantsCall:
      _ = ring.wantsCall()
      check("wantsCall")
    case .setWantsKicks:
      ring.setWantsKicks(r.a & 1 == 1)
      requireNoted(by: "setWantsKicks")
      if isAlone && ring.fault == .none { allowKicks() }
      check("setWantsKicks")
    case .restart:
      restart(behind: UInt16(r.a), round: r.b)
      return
    case .lookUp:
      MemoryCheck.lookUp(r, memory, place)
      check("a look-up")
    case .fetch: fetch(count: Int(r.b), outstanding: Int(r.a) % (place.size + 1))
    }
    Oracle.require(fault == .none || ring.fault == fault, "the fault \(fault) became \(ring.fault)")
  }

  /// Whatever the step has written, it was allowed to, or it was not.
  private func check(_ step: StaticString) {
    if isAlone { memory.requireUnchanged(after: step) }
  }

  private func allowKicks() {
    switch place.format {
    case .packed: memory.allow(place.deviceEvent, 4)
    case .split where features.contains(.eventIndex): memory.allow(place.availEvent, 2)
    case .split: memory.allow(place.usedFlags, 2)
    }
  }

  // MARK: From the guest

  /// Takes chains as a device that works on chains does, off a copy of the ring: nothing has happened afterwards.
  private func fetch(count: Int, outstanding: Int) {
    var ring = ring
    var outstanding = outstanding
    for _ in 0..<count {
      let position = ring.nextAvail
      let isBroken = ring.fault != .none
      let chain = Oracle.bounded("fetchChain") {
        ring.fetchChain(into: segments, memory: memory.view, outstanding: outstanding)
      }
      check("fetchChain")
      if isAlone {
        let model = model(at: position, isRead: false).flatMap {
          isBroken || outstanding + $0.descriptors > place.size ? nil : $0
        }
        let isSame =
          chain.map(\.readable) == model?.readable && chain.map(\.writable) == model?.writable
          && chain.map { Int($0.descriptors) } == model?.descriptors
        Oracle.require(isSame, "\(String(describing: chain)) is fetched, \(String(describing: model)) is there")
      }
      guard let chain else { return }
      var lengths = (readable: 0, writable: 0)
      for i in 0..<segments.count {
        if i < chain.readableSegments {
          lengths.readable += segments[i].length
        } else {
          lengths.writable += segments[i].length
        }
      }
      Oracle.require(lengths == (chain.readable, chain.writable), "pieces of \(lengths) bytes for \(chain)")
      Oracle.require(
        ring.nextAvail == place.advance(position, by: Int(chain.descriptors)), "the position is not behind the chain")
      outstanding += Int(chain.descriptors)
    }
  }

  private mutating func dequeue(limit: Int) {
    if returned == incoming.count {
      incoming.clear()
      returned = 0
    }
    let before = (count: incoming.count, position: ring.nextAvail, isBroken: ring.fault != .none)
    let model = isAlone ? model(at: before.position, isRead: true) : nil
    let taken = Oracle.bounded("dequeueBurst") {
      ring.dequeueBurst(into: incoming, limit: limit, memory: memory.view, headerLength: headerLength)
    }
    check("dequeueBurst")
    Oracle.require(taken >= 0 && taken <= limit, "\(taken) packets, at most \(limit) wanted")
    // A driver that goes on meanwhile may have announced more than the ring holds at a time.
    let isPossible = !isAlone || place.format == .packed || taken <= place.size
    Oracle.require(isPossible, "\(taken) packets in a ring of \(place.size)")
    Oracle.require(incoming.count == before.count + taken && incoming.count <= PacketBurst.capacity, "packets get lost")
    Oracle.require(!before.isBroken || taken == 0, "packets come out of a broken ring")
    var position = before.position
    for i in before.count..<incoming.count {
      let slot = incoming[i]
      let found = ring.memory.position(of: i, in: incoming, nextAvail: ring.nextAvail)
      Oracle.require(found == position, "packet \(i), from \(found), is not from where its chain was, \(position)")
      Oracle.require(slot.descriptors >= 1 && slot.descriptors <= place.size, "a chain of \(slot.descriptors)")
      Oracle.require(place.format == .packed || Int(slot.id) < place.size, "id \(slot.id) in a ring of \(place.size)")
      position = place.advance(position, by: Int(slot.descriptors))
      checkPlace(i, slot)
    }
    Oracle.require(ring.nextAvail == position, "the position is not that of the packets")
    if let model, taken > 0 {
      let slot = incoming[before.count]
      let isSame = slot.outcome == .oversized ? model.readable > longest : slot.length == model.readable
      Oracle.require(isSame, "\(slot) came of \(model)")
    }
  }

  /// The longest packet with its header that is copied.
  private var longest: Int { incoming.pool.map { $0.payloadLength + headerLength } ?? PacketBurst.maxLength }

  private func model(at position: UInt16, isRead: Bool) -> ChainModel? {
    ChainModel(place, memory, at: position, isRead: isRead, hasIndirect: features.contains(.indirectDescriptors))
  }

  /// A packet is where it may be, and nowhere else.
  private func checkPlace(_ index: Int, _ slot: PacketBurst.Slot) {
    guard slot.outcome != .oversized else {
      return Oracle.require(slot.length == 0, "a packet that was not copied has bytes")
    }
    Oracle.require(slot.outcome == .pending, "a packet just taken is \(slot.outcome)")
    Oracle.require(slot.length >= headerLength && slot.length <= longest, "a packet of \(slot.length) bytes")
    for other in 0..<index where incoming[other].outcome != .oversized {
      let (start, length) = (incoming[other].start, incoming[other].length)
      let isApart = slot.start >= start + length || start >= slot.start + slot.length
      Oracle.require(isApart, "packet \(index) lies over packet \(other)")
    }
  }

  private mutating func complete(_ wanted: Int) {
    let count = min(wanted, incoming.count - returned)
    var position = ring.nextUsed
    Oracle.bounded("complete") { ring.complete(incoming, first: returned, count: count) }
    requireNoted(by: "complete")
    for i in returned..<returned + count {
      if isAlone {
        switch place.format {
        case .split: memory.allow(place.usedEntry(position), 8)
        case .packed: memory.allow(place.descriptor(place.index(position)) &+ 8, 8)
        }
      }
      position = place.advance(position, by: Int(incoming[i].descriptors))
    }
    Oracle.require(ring.nextUsed == position, "\(count) completed, not so many announced")
    if isAlone && count > 0 && place.format == .split { memory.allow(place.usedIndex, 2) }
    check("complete")
    returned += count
  }

  private mutating func giveBack(_ wanted: Int) {
    let kept = incoming.count - min(wanted, incoming.count - returned)
    ring.giveBack(incoming, first: kept)
    incoming.filter { $0 < kept }
    check("giveBack")
  }

  // MARK: To the guest

  private mutating func enqueue(count: Int, length: Int) {
    outgoing.clear()
    let payload = min(length, outgoing.maxPayloadLength)
    for _ in 0..<min(count, PacketBurst.capacity) {
      if !outgoing.append(length: payload, headerLength: headerLength, { _ in }) { break }
    }
    send(outgoing)
  }

  private mutating func echo() {
    guard returned == incoming.count else { return }
    incoming.rearm()
    send(incoming)
  }

  private mutating func send(_ burst: PacketBurst) {
    // A device that has fetched chains and not returned them does not send into the same ring.
    guard returned == incoming.count else { return }
    let before = (avail: ring.nextAvail, used: ring.nextUsed, isBroken: ring.fault != .none)
    let buffers = isAlone ? WritableBuffers(place, memory) : nil
    let model = isAlone ? model(at: before.avail, isRead: false) : nil
    let taken = Oracle.bounded("enqueueBurst") {
      ring.enqueueBurst(
        from: burst, first: 0, memory: memory.view, headerLength: headerLength,
        mergeable: features.contains(.netMergeableBuffers))
    }
    requireNoted(by: "enqueueBurst")
    var delivered = 0
    for i in 0..<burst.count {
      let outcome = burst[i].outcome
      if outcome == .delivered { delivered += 1 }
      Oracle.require(outcome == .oversized || (outcome == .pending) == (i >= taken), "packet \(i) is \(outcome)")
    }
    if isAlone { allow(buffers, delivered: delivered) }
    check("enqueueBurst")
    Oracle.require(taken >= 0 && taken <= burst.count, "\(taken) packets taken of \(burst.count)")
    // Those that were not copied are passed over.
    let isQuiet = delivered == 0 && ring.nextUsed == before.used
    Oracle.require(!before.isBroken || isQuiet, "packets go into a broken ring")
    checkMove(before.avail, before.used, delivered)
    if let model, model.readable > 0 { Oracle.require(delivered == 0, "a packet went into \(model)") }
  }

  /// What a burst may have written.
  private func allow(_ buffers: WritableBuffers?, delivered: Int) {
    switch place.format {
    case .split:
      memory.allow(place.usedIndex, 2)
      memory.allow(place.usedEntry(0), UInt64(8 * place.size))
    case .packed:
      for i in 0..<place.size { memory.allow(place.descriptor(i) &+ 8, 8) }
    }
    // In a packed ring the chain of one packet may run over what was written for the one before.
    if let buffers, place.format == .split || delivered <= 1 { buffers.allow(in: memory) } else { memory.allowAll() }
  }

  private func checkMove(_ avail: UInt16, _ used: UInt16, _ delivered: Int) {
    guard place.format == .split else {
      return Oracle.require(avail != used || ring.nextAvail == ring.nextUsed, "the two positions move apart")
    }
    let moved = ring.nextUsed &- used
    Oracle.require(moved == ring.nextAvail &- avail, "\(moved) buffers used, not so many fetched")
    Oracle.require(!isAlone || Int(moved) <= place.size, "\(moved) buffers used at once")
    let isRight = features.contains(.netMergeableBuffers) ? delivered <= Int(moved) : delivered == Int(moved)
    Oracle.require(isRight, "\(delivered) packets in \(moved) buffers")
  }
}
