internal import VDPA
internal import Virtio

/// A queue pair of a net device.
///
/// What is in flight are, on one side, packets on their way to the guest, whose buffers were fetched with them, and on the
/// other side transmitted chains, whose packets were copied. The packets stay in order whatever the device's order is.
final class NetPair: ServedQueue {
  /// A transmitted chain that was not returned yet.
  private struct Sent {
    let id: UInt16
    let descriptors: UInt16
  }

  /// The most packets that are in flight in one direction.
  static let window = 256

  let receive: ServedVring
  let transmit: ServedVring
  let vrings: [ServedVring]
  unowned let server: RingServer
  private var settings: SimulatorSettings { server.settings }
  private var wire = InFlight<NetBatch>()
  /// How many packets are on the wire.
  private var wireCount = 0
  /// How many buffers they will be in.
  private var wireBuffers = 0
  private var sent = InFlight<Sent>()
  private var spare: [NetBatch] = []

  init(receive: ServedVring, transmit: ServedVring, server: RingServer) {
    self.receive = receive
    self.transmit = transmit
    vrings = [receive, transmit]
    self.server = server
  }

  var inFlight: Int { wireBuffers + sent.count }

  var nextDue: UInt64? {
    [wire.nextDue(isOrdered: true), sent.nextDue(isOrdered: server.isInOrder)].compactMap(\.self).min()
  }

  func serve(at now: UInt64) -> Bool {
    let isFetched =
      switch settings.traffic {
      case .loopback: loopBack(now)
      case .sink: drain(now)
      case .source: source(now)
      }
    return complete(by: now) || isFetched
  }

  func finish() { _ = complete(by: .max) }

  func drop() {
    wire.removeAll()
    sent.removeAll()
  }

  // MARK: From the guest

  /// Fetches packets to give them back on the pair they came on. What does not find its buffers now stays where it is.
  private func loopBack(_ now: UInt64) -> Bool {
    guard transmit.isEnabled, receive.isEnabled else { return drain(now, lostAt: receive) }
    if server.isPlain && inFlight == 0 { return loopBackAtOnce() }
    // A receive ring that is broken has no room, so the transmit ring waits.
    let room = min(receive.ring.pending(), NetPair.window - max(sent.count, wireCount))
    guard room > 0 else { return false }
    let batch = emptyBatch()
    let packets = batch.packets
    packets.clear()
    let taken = transmit.ring.dequeueBurst(
      into: packets, limit: min(room, PacketBurst.capacity), memory: server.view, headerLength: server.headerLength)
    guard taken > 0 else { return keep(batch) }
    let placed = place(batch)
    transmit.ring.giveBack(packets, first: placed)
    packets.removeLast(taken - placed)
    guard placed > 0 else { return keep(batch) }
    // No offload has been negotiated, so nothing that a header could say holds for the one who gets it.
    packets.clearHeaders(length: server.headerLength)
    transmit.statistics.add(packets.tallyTaken(first: 0, count: placed))
    take(packets, now)
    launch(batch, now)
    return true
  }

  /// Takes packets from the guest.
  ///
  /// - Parameter receive: Where they would have gone, had not one of the two rings been disabled; nil when taking them
  ///   is all there is to do.
  private func drain(_ now: UInt64, lostAt receive: ServedVring? = nil) -> Bool {
    let packets = server.burst
    packets.clear()
    let taken = transmit.ring.dequeueBurst(
      into: packets, limit: min(PacketBurst.capacity, NetPair.window - sent.count), memory: server.view,
      headerLength: server.headerLength)
    guard taken > 0 else { return false }
    let tally = packets.tallyTaken(first: 0, count: taken)
    if transmit.isEnabled {
      transmit.statistics.add(tally)
      receive?.statistics.dropped &+= UInt64(tally.packets)
    } else {
      transmit.statistics.dropped &+= UInt64(taken)
      transmit.statistics.oversized &+= UInt64(tally.oversized)
    }
    take(packets, now)
    return true
  }

  /// Takes note of chains that are to be returned.
  private func take(_ packets: PacketBurst, _ now: UInt64) {
    for i in 0..<packets.count {
      sent.add(Sent(id: packets[i].id, descriptors: packets[i].descriptors), due: server.due(from: now))
    }
  }

  // MARK: To the guest

  /// Sends as many packets as there are buffers for, and takes what the guest sends.
  private func source(_ now: UInt64) -> Bool {
    let hasTaken = drain(now)
    guard receive.isEnabled, wireCount + PacketBurst.capacity <= NetPair.window, receive.ring.pending() > 0 else {
      return hasTaken
    }
    let batch = emptyBatch()
    batch.packets = server.sourcePackets()
    let placed = place(batch)
    // Packets that fit nowhere cost no buffers; sending them for ever would be work without an end.
    guard placed > 0, !batch.buffers.isEmpty else {
      receive.statistics.add(oversized: batch.undeliverable)
      server.post(receive)
      spare.append(batch)
      return hasTaken
    }
    launch(batch, now)
    return true
  }

  private func emptyBatch() -> NetBatch {
    let batch = spare.popLast() ?? NetBatch(settings.traffic == .source ? server.sourcePackets() : PacketBurst())
    batch.clear()
    return batch
  }

  /// Keeps a batch for later; there was nothing to do.
  private func keep(_ batch: NetBatch) -> Bool {
    spare.append(batch)
    return false
  }

  private func launch(_ batch: NetBatch, _ now: UInt64) {
    if !server.isInOrder { batch.shuffle(by: &server.random) }
    wireCount += batch.counts.count
    wireBuffers += batch.buffers.count
    wire.add(batch, due: now &+ server.latency)
  }

  /// Fetches buffers for the packets of a batch.
  ///
  /// - Returns: How many packets have some, or need none.
  private func place(_ batch: NetBatch) -> Int {
    for i in 0..<batch.packets.count {
      let slot = batch.packets[i]
      // One that was too long to be copied has no place in guest memory either.
      let isPlaced = slot.outcome == .oversized || reserve(slot.length, batch)
      guard isPlaced else { return i }
      if slot.outcome == .oversized { batch.counts.append(0) }
      // All packets of a source are alike.
      if settings.traffic == .source && batch.undeliverable > 0 { return i + 1 }
    }
    return batch.packets.count
  }

  /// Fetches buffers for a packet.
  ///
  /// - Returns: False when it has to wait for the guest to give more.
  private func reserve(_ length: Int, _ batch: NetBatch) -> Bool {
    let mark = receive.mark
    let first = batch.buffers.count
    var (room, descriptors) = (0, 0)
    func undo() {
      receive.rewind(to: mark)
      batch.buffers.removeLast(batch.buffers.count - first)
    }
    func giveUp() -> Bool {
      undo()
      batch.counts.append(0)
      batch.undeliverable += 1
      return true
    }
    while room < length {
      guard let buffer = receive.fetch(server.view, server.segments) else {
        server.noteMiss(receive)
        // A guest whose descriptors are all here cannot give more of them.
        if receive.ring.fault == .none && receive.ring.miss == nil && descriptors == receive.ring.size {
          return giveUp()
        }
        undo()
        return false
      }
      let least = batch.buffers.count == first ? server.headerLength : 1
      guard buffer.readable == 0, buffer.writable >= least else {
        receive.ring.setFault(buffer.readable > 0 ? .descriptorOrder : .shortBuffer)
        undo()
        return false
      }
      batch.buffers.append(buffer)
      room += buffer.writable
      descriptors += Int(buffer.chain.descriptors)
      if room < length && !server.isMergeable { return giveUp() }
    }
    batch.counts.append(batch.buffers.count - first)
    return true
  }

  // MARK: Completions

  private func complete(by now: UInt64) -> Bool {
    var worked = false
    for batch in wire.take(dueBy: now) {
      guard deliver(batch) else { return true }
      worked = true
    }
    let returned = server.isInOrder ? sent.take(dueBy: now) : sent.take(dueBy: now, shuffledBy: &server.random)
    for chain in returned {
      transmit.give(chain.id, descriptors: chain.descriptors, corruption: server.corruption(on: transmit))
      guard settings.traffic != .sink || server.countPacket() else { return true }
    }
    if !returned.isEmpty { transmit.announce() }
    return worked || !returned.isEmpty
  }

  /// Writes packets into their buffers.
  ///
  /// - Returns: False when the device has vanished on the way.
  private func deliver(_ batch: NetBatch) -> Bool {
    let packets = batch.packets
    packets.rearm()
    var (next, chained) = (0, [Int]())
    for (i, count) in batch.counts.enumerated() {
      guard count > 0 else {
        if packets[i].outcome != .oversized { packets.markInvalid(i) }
        continue
      }
      let buffers = batch.buffers[next..<next + count]
      write(packets, i, to: buffers)
      chained.append(buffers.reduce(0) { $0 + $1.chain.length })
      next += count
      guard server.countPacket() else { return false }
    }
    // A source has more packets than there may have been buffers for.
    var tally = packets.tallyGiven(count: batch.counts.count)
    for links in chained where links > 1 {
      tally.linkClasses[0] -= 1
      tally.linkClasses[PacketTally.linkClass(of: links)] += 1
    }
    receive.statistics.add(tally)
    receive.statistics.add(oversized: batch.undeliverable)
    wireCount -= batch.counts.count
    wireBuffers -= batch.buffers.count
    if next > 0 { receive.announce() }
    spare.append(batch)
    return true
  }

  /// Writes a packet into its buffers and returns them.
  private func write(_ packets: PacketBurst, _ index: Int, to buffers: ArraySlice<HeldChain>) {
    let (headerLength, log) = (server.headerLength, receive.ring.log)
    // With the header, whose length is 0 here.
    packets.withPayload(index, headerLength: 0) { bytes in
      if headerLength == NetHeader.modernLength {
        bytes[NetHeader.bufferCountOffset] = UInt8(truncatingIfNeeded: buffers.count)
        bytes[NetHeader.bufferCountOffset + 1] = UInt8(truncatingIfNeeded: buffers.count >> 8)
      }
      var written = 0
      for buffer in buffers {
        let count = min(buffer.writable, bytes.count - written)
        buffer.write(bytes.span.extracting(written..<written + count), at: 0, log: log)
        receive.give(buffer, written: count, corruption: server.corruption(on: receive))
        written += count
      }
    }
  }
}

extension VringStatistics {
  /// Counts packets that fit into no buffers of the guest.
  fileprivate mutating func add(oversized count: Int) {
    oversized &+= UInt64(count)
    dropped &+= UInt64(count)
  }
}
