internal import VDPA
internal import Virtio

extension RingServer {
  /// Does one burst of a pair's work.
  ///
  /// - Returns: Whether anything could be done.
  func serve(_ pair: Pair, _ view: MemoryView) -> Bool {
    let worked =
      switch settings.traffic {
      case .loopback: loopBack(pair, view)
      case .sink: drain(pair.transmit, view)
      case .source: source(pair, view)
      }
    noteFault(pair.receive)
    noteFault(pair.transmit)
    if worked || pair.receive.isBroken || pair.transmit.isBroken {
      board[pair.receive.index] = pair.receive.statistics
      board[pair.transmit.index] = pair.transmit.statistics
    }
    return worked
  }

  /// Gives packets back on the pair they came on, in order. What does not find its buffers now stays where it is.
  private func loopBack(_ pair: Pair, _ view: MemoryView) -> Bool {
    let (receive, transmit) = (pair.receive, pair.transmit)
    guard transmit.isEnabled, receive.isEnabled else { return drain(transmit, view, lostAt: receive) }
    // A receive ring that is broken has no room, so the transmit ring waits.
    let room = receive.ring.pending()
    guard room > 0 else { return false }
    burst.clear()
    let taken = transmit.ring.dequeueBurst(
      into: burst, limit: min(room, PacketBurst.capacity), memory: view, headerLength: headerLength)
    guard taken > 0 else { return false }
    let usedBefore = receive.ring.nextUsed
    // No offload has been negotiated, so nothing that a header could say holds for the one who gets it.
    burst.clearHeaders(length: headerLength)
    let done = receive.ring.enqueueBurst(
      from: burst, first: 0, memory: view, headerLength: headerLength, mergeable: isMergeable)
    transmit.ring.complete(burst, first: 0, count: done)
    transmit.ring.giveBack(burst, first: done)
    transmit.statistics.add(burst.tallyTaken(first: 0, count: done))
    receive.statistics.add(burst.tallyGiven(count: done))
    if receive.ring.nextUsed != usedBefore { receive.call() }
    if done > 0 { transmit.call() }
    return done > 0
  }

  /// Takes packets from the guest.
  ///
  /// - Parameter receive: Where they would have gone, had not one of the two rings been disabled; nil when taking them
  ///   is all there is to do.
  private func drain(_ transmit: ServedVring, _ view: MemoryView, lostAt receive: ServedVring? = nil) -> Bool {
    burst.clear()
    let taken = transmit.ring.dequeueBurst(
      into: burst, limit: PacketBurst.capacity, memory: view, headerLength: headerLength)
    guard taken > 0 else { return false }
    transmit.ring.complete(burst, first: 0, count: taken)
    let tally = burst.tallyTaken(first: 0, count: taken)
    if transmit.isEnabled {
      transmit.statistics.add(tally)
      receive?.statistics.dropped &+= UInt64(tally.packets)
    } else {
      transmit.statistics.dropped &+= UInt64(taken)
      transmit.statistics.oversized &+= UInt64(tally.oversized)
    }
    transmit.call()
    return true
  }

  /// Sends as many packets as there are buffers for, and takes what the guest sends.
  private func source(_ pair: Pair, _ view: MemoryView) -> Bool {
    let hasTaken = drain(pair.transmit, view)
    let receive = pair.receive
    guard receive.isEnabled, receive.ring.pending() > 0 else { return hasTaken }
    let packets = sourcePackets()
    packets.rearm()
    let usedBefore = receive.ring.nextUsed
    let done = receive.ring.enqueueBurst(
      from: packets, first: 0, memory: view, headerLength: headerLength, mergeable: isMergeable)
    receive.statistics.add(packets.tallyGiven(count: done))
    // Packets that fit nowhere cost no buffers; sending them for ever would be work without an end.
    guard receive.ring.nextUsed != usedBefore else {
      board[receive.index] = receive.statistics
      return hasTaken
    }
    receive.call()
    return true
  }

  /// A burst of broadcast frames of the ethertype for local experiments (IEEE 802, 0x88b5), all bytes behind the header
  /// counting up.
  private func sourcePackets() -> PacketBurst {
    if let (packets, length) = sourceBurst, length == headerLength { return packets }
    let mac = settings.configuration(device: device, pairs: 1).mac.bytes
    let header = Array(repeating: UInt8(0xff), count: 6) + mac + [0x88, 0xb5]
    let packets = PacketBurst()
    while packets.append(
      length: settings.sourceLength, headerLength: headerLength,
      { payload in
        for i in 0..<payload.count {
          payload[i] = i < header.count ? header[i] : UInt8(truncatingIfNeeded: i - header.count)
        }
      })
    {}
    sourceBurst = (packets, headerLength)
    return packets
  }
}
