internal import Virtio

/// The steps of a device on one ring for one input, and what must hold after each of them.
struct DeviceRingRun {
  /// What a record with the walker's bit stands for. Other numbers stand for one of these, too.
  enum Step: UInt8 {
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
    case pending
    case wantsCall
    /// `a` says whether.
    case setWantsKicks
    /// The ring goes on as after a reset, `a` chains behind the driver.
    case restart
    /// A piece of memory is looked up.
    case lookUp
  }

  static let defaultSteps = [Step.dequeue, .complete, .enqueue].map {
    Record(kind: Record.walker | $0.rawValue, a: 31, d: Record.length(1500))
  }

  private var ring: SplitDeviceRing
  private let place: RingPlacement
  private let memory: FuzzMemory
  private let headerLength: Int
  private let mergeable: Bool
  private let incoming: PacketBurst
  private let outgoing: PacketBurst
  /// Whether nobody else writes: then every byte that changes has to be accounted for.
  private let isAlone: Bool
  /// How many of `incoming` have been returned.
  private var returned = 0

  init(
    area: SplitRingArea, place: RingPlacement, memory: FuzzMemory, input: FuzzInput, incoming: PacketBurst,
    outgoing: PacketBurst, isAlone: Bool
  ) {
    ring = SplitDeviceRing(area: area, nextAvail: input.position, nextUsed: input.position &- input.lag)
    self.place = place
    self.memory = memory
    headerLength = input.headerLength
    mergeable = input.bits.contains(.mergeable)
    self.incoming = incoming
    self.outgoing = outgoing
    self.isAlone = isAlone
  }

  /// As after a reset of the device by its driver, `lag` chains behind wherever the driver is.
  mutating func restart(behind lag: UInt16) {
    let position = memory.load(place.availIndex, as: UInt16.self) &- UInt16(Int(lag) % (place.size * 2))
    ring = SplitDeviceRing(area: ring.area, nextAvail: position, nextUsed: position)
    incoming.clear()
    returned = 0
  }

  mutating func step(_ r: Record) {
    let fault = ring.fault
    switch Step(rawValue: (r.kind & 0x7f) % 10) ?? .dequeue {
    case .dequeue: dequeue(limit: Int(r.a) % 40)
    case .complete: complete(Int(r.a) + 1)
    case .giveBack: giveBack(Int(r.a) + 1)
    case .enqueue: enqueue(count: Int(r.a) + 1, length: Int(r.length))
    case .echo: echo()
    case .pending:
      let pending = ring.pending()
      Oracle.require(pending >= 0 && pending <= place.size, "\(pending) chains wait in a ring of \(place.size)")
      check("pending")
    case .wantsCall:
      _ = ring.wantsCall()
      check("wantsCall")
    case .setWantsKicks:
      ring.setWantsKicks(r.a & 1 == 1)
      if isAlone && ring.fault == .none { memory.allow(place.usedFlags, 2) }
      check("setWantsKicks")
    case .restart:
      restart(behind: UInt16(r.a))
      return
    case .lookUp:
      MemoryCheck.lookUp(r, memory, place)
      check("a look-up")
    }
    Oracle.require(fault == .none || ring.fault == fault, "the fault \(fault) became \(ring.fault)")
  }

  /// Whatever the step has written, it was allowed to, or it was not.
  private func check(_ step: StaticString) {
    if isAlone { memory.requireUnchanged(after: step) }
  }

  // MARK: From the guest

  private mutating func dequeue(limit: Int) {
    if returned == incoming.count {
      incoming.clear()
      returned = 0
    }
    let before = (count: incoming.count, position: ring.nextAvail, isBroken: ring.fault != .none)
    let taken = Oracle.bounded("dequeueBurst") {
      ring.dequeueBurst(into: incoming, limit: limit, memory: memory.view, headerLength: headerLength)
    }
    check("dequeueBurst")
    Oracle.require(taken >= 0 && taken <= limit && taken <= place.size, "\(taken) packets, at most \(limit) wanted")
    Oracle.require(incoming.count == before.count + taken && incoming.count <= PacketBurst.capacity, "packets get lost")
    Oracle.require(ring.nextAvail &- before.position == UInt16(taken), "the position is not that of the packets")
    Oracle.require(!before.isBroken || taken == 0, "packets come out of a broken ring")
    var end = before.count == 0 ? 0 : incoming[before.count - 1].start + incoming[before.count - 1].length
    for i in before.count..<incoming.count {
      let slot = incoming[i]
      Oracle.require(Int(slot.head) < place.size, "head \(slot.head) in a ring of \(place.size)")
      if slot.outcome == .oversized {
        Oracle.require(slot.length == 0, "a packet that was not copied has bytes")
        continue
      }
      Oracle.require(slot.outcome == .pending, "a packet just taken is \(slot.outcome)")
      Oracle.require(
        slot.length >= headerLength && slot.length <= PacketBurst.maxLength, "a packet of \(slot.length) bytes")
      Oracle.require(slot.start >= end, "packet \(i) lies over the one before")
      end = slot.start + slot.length
    }
  }

  private mutating func complete(_ wanted: Int) {
    let count = min(wanted, incoming.count - returned)
    let position = ring.nextUsed
    Oracle.bounded("complete") { ring.complete(incoming, first: returned, count: count) }
    Oracle.require(ring.nextUsed &- position == UInt16(count), "\(count) completed, not so many announced")
    if isAlone {
      for i in 0..<count { memory.allow(place.usedEntry(position &+ UInt16(i)), 8) }
      if count > 0 { memory.allow(place.usedIndex, 2) }
    }
    check("complete")
    returned += count
  }

  private mutating func giveBack(_ wanted: Int) {
    let count = min(wanted, incoming.count - returned)
    ring.giveBack(count)
    let kept = incoming.count - count
    incoming.filter { $0 < kept }
    check("giveBack")
  }

  // MARK: To the guest

  private mutating func enqueue(count: Int, length: Int) {
    outgoing.clear()
    let payload = min(length, PacketBurst.maxLength - headerLength)
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
    // A packet that is written over the descriptors of the next one changes what may be written.
    let buffers = isAlone ? WritableBuffers(place, memory) : nil
    let taken = Oracle.bounded("enqueueBurst") {
      ring.enqueueBurst(
        from: burst, first: 0, memory: memory.view, headerLength: headerLength, mergeable: mergeable)
    }
    if isAlone {
      memory.allow(place.usedIndex, 2)
      memory.allow(place.usedEntry(0), UInt64(8 * place.size))
      if let buffers { buffers.allow(in: memory) } else { memory.allowAll() }
    }
    check("enqueueBurst")
    Oracle.require(taken >= 0 && taken <= burst.count, "\(taken) packets taken of \(burst.count)")
    Oracle.require(!before.isBroken || taken == 0 && ring.nextUsed == before.used, "packets go into a broken ring")
    let moved = ring.nextUsed &- before.used
    Oracle.require(moved == ring.nextAvail &- before.avail && Int(moved) <= place.size, "\(moved) buffers used at once")
    var delivered = 0
    for i in 0..<burst.count {
      let outcome = burst[i].outcome
      if outcome == .delivered { delivered += 1 }
      Oracle.require(outcome == .oversized || (outcome == .pending) == (i >= taken), "packet \(i) is \(outcome)")
    }
    let isRight = mergeable ? delivered <= Int(moved) : delivered == Int(moved)
    Oracle.require(isRight, "\(delivered) packets in \(moved) buffers")
  }
}
