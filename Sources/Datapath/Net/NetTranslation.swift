internal import Virtio

/// Takes the headers of packets from the guest that sends them to the guest that receives them (virtio 1.2, §5.1.6).
///
/// ``inbound(_:)`` checks what a guest has asked for; ``outbound(_:chain:to:through:enqueue:)`` does what the receiver
/// does not do itself. Both work in the burst, on private copies. A burst of packets that ask for nothing, as most are,
/// costs one load a packet.
///
/// A large packet may become more segments than the receiver has room for. Nothing is kept then but how many of them
/// have been delivered: the packet goes back to its ring as if it had never been taken, is taken and checked again, and
/// goes on with the segment that is due. So a stop finds nothing in flight, and a value needs no memory that grows. A guest
/// that changes such a packet meanwhile gets segments of two packets, which harms nobody else.
///
/// A value belongs to one vring from which packets are taken, and to one thread at a time.
struct NetTranslation {
  /// Which packets of a burst, by their bits.
  typealias Packets = UInt64

  /// Where delivery of a burst has got to: all packets in front of it, and that many segments of it.
  struct Position: Equatable {
    var packet = 0
    var segment = 0
  }

  /// What has been done with a burst.
  struct Progress: Equatable {
    /// How many packets from its start are finished: delivered, or dropped for good.
    var finished = 0
    /// How many packets and segments the receiver has got, of packets that are not finished too.
    var delivered = 0
  }

  /// Whoever sends.
  let sender: NetGuest
  /// Packets that were dropped, by reason.
  private(set) var faults = NetFaultCounters()

  /// How often the receiver's ring is filled in one turn, for other rings of the worker wait meanwhile.
  static let maxRounds = 8

  /// Packets that ask for something.
  private(set) var offloaded: Packets = 0
  /// Packets that are to be dropped.
  private(set) var dropped: Packets = 0
  /// Packets that become segments.
  private var segmented: Packets = 0
  /// Why packets are to be dropped; valid where ``dropped`` has a bit.
  private var reasons = [NetHeaderFault](repeating: .notTCP, count: PacketBurst.capacity)
  /// Where delivery is when a slot of the second burst is due, and behind them where filling it came to an end.
  private var due: [Position] = []
  /// The chain of a packet that is delivered in part, and how many segments of it.
  private var partial: (chain: UInt16, segments: Int)?

  /// A translation of what that guest sends.
  init(sender: NetGuest) {
    precondition(PacketBurst.capacity <= Packets.bitWidth)
    self.sender = sender
  }

  /// Forgets that a packet is delivered in part; for when its chain is returned to the guest in another way.
  mutating func forget() { partial = nil }

  // MARK: From the guest

  /// Checks the headers of packets that were just taken, and writes those that are right again as they are meant. Those
  /// that are not are marked: ``isDropped(_:)``.
  mutating func inbound(_ burst: PacketBurst) {
    let maxLength = sender.maxLength
    var unusual: Packets = 0
    for i in 0..<burst.count {
      let slot = burst[i]
      guard slot.outcome == .pending else { continue }
      let isPlain = burst.withPayload(i, headerLength: 0) { NetHeader.isPlain($0.span) }
      if !isPlain || slot.length > maxLength { unusual |= 1 &<< Packets(truncatingIfNeeded: i) }
    }
    offloaded = 0
    dropped = 0
    if unusual != 0 { check(burst, unusual) }
  }

  private mutating func check(_ burst: PacketBurst, _ packets: Packets) {
    let (headerLength, features, frameLength) = (sender.headerLength, sender.features, sender.frameLength)
    NetTranslation.forEach(packets) { i in
      let offload = NetTranslation.offload(
        burst, i, headerLength: headerLength, features: features, frameLength: frameLength)
      switch offload {
      case .invalid(let fault): drop(i, for: fault)
      case .none: NetTranslation.write(NetHeader(), burst, i, headerLength: headerLength)
      case .checksum, .segmentation:
        offloaded |= 1 << Packets(i)
        // Nobody but the sender may learn what it left in fields that mean nothing.
        if case .asIs(let header) = offload.delivery(length: 0, to: .netGuestOffloads) {
          NetTranslation.write(header, burst, i, headerLength: headerLength)
        }
      }
    }
  }

  /// Whether a packet of the burst is to be dropped for what its header says.
  func isDropped(_ packet: Int) -> Bool { dropped & 1 << Packets(packet) != 0 }

  /// Whether a packet of the burst goes as it is to everybody.
  func isPlain(_ packet: Int) -> Bool { (dropped | offloaded) & 1 << Packets(packet) == 0 }

  /// How many of the first packets of the burst are to be dropped.
  func droppedCount(of count: Int) -> Int {
    dropped == 0 ? 0 : (dropped & (count >= Packets.bitWidth ? .max : 1 << Packets(count) - 1)).nonzeroBitCount
  }

  /// Counts what is dropped of the first packets of the burst: whoever takes packets and delivers none calls it, when
  /// they are returned to the guest.
  ///
  /// - Returns: How many of them are dropped.
  mutating func finish(_ count: Int) -> Int {
    guard dropped != 0 else { return 0 }
    let finished = dropped & (count >= Packets.bitWidth ? .max : 1 << Packets(count) - 1)
    NetTranslation.forEach(finished) { faults.count(reasons[$0]) }
    return finished.nonzeroBitCount
  }

  mutating func drop(_ packet: Int, for reason: NetHeaderFault) {
    dropped |= 1 << Packets(packet)
    reasons[packet] = reason
  }

  // MARK: To a guest

  /// Delivers packets that ``inbound(_:)`` has checked, in order.
  ///
  /// - Parameters:
  ///   - chain: Names the chain of a packet by what no other has before it is returned to the guest: its position.
  ///   - receiver: Whoever gets them.
  ///   - segments: A second burst, for packets that cannot go as they are; it is overwritten.
  ///   - enqueue: Gives the packets of a burst to the receiver, and returns how many were taken from its start.
  /// - Returns: What has been done. Packets that are not finished have to go back to their ring.
  mutating func outbound(
    _ burst: PacketBurst, chain: (Int) -> UInt16, to receiver: NetGuest, through segments: PacketBurst,
    enqueue: (PacketBurst) -> Int
  ) -> Progress {
    prepare(burst, for: receiver)
    if segmented | dropped == 0 && sender.headerLength == receiver.headerLength {
      partial = nil
      let taken = enqueue(burst)
      return Progress(finished: taken, delivered: taken)
    }
    var position = Position()
    if let partial, burst.count > 0, partial.chain == chain(0) { position.segment = partial.segments }
    partial = nil
    var progress = Progress()
    for _ in 0..<NetTranslation.maxRounds where position.packet < burst.count {
      fill(segments, from: burst, at: position, for: receiver)
      let taken = segments.count == 0 ? 0 : enqueue(segments)
      position = due[taken]
      progress.delivered += taken
      guard taken == segments.count else { break }
    }
    progress.finished = position.packet
    _ = finish(position.packet)
    if position.segment > 0 { partial = (chain(position.packet), position.segment) }
    return progress
  }

  /// Does in place what can be done in place, and finds out what cannot.
  private mutating func prepare(_ burst: PacketBurst, for receiver: NetGuest) {
    segmented = 0
    if receiver.frameLength < sender.frameLength { dropLong(burst, for: receiver) }
    guard offloaded != 0 else { return }
    let headerLength = sender.headerLength
    NetTranslation.forEach(offloaded) { i in
      switch delivery(of: i, burst, to: receiver) {
      case .asIs(let header): NetTranslation.write(header, burst, i, headerLength: headerLength)
      case .completeChecksum(let start, let offset):
        burst.withPayload(i, headerLength: headerLength) {
          InternetChecksum.complete(&$0, start: start, offset: offset)
        }
        NetTranslation.write(NetHeader(), burst, i, headerLength: headerLength)
      case .segments: segmented |= 1 << Packets(i)
      case .drop(let fault): drop(i, for: fault)
      }
    }
  }

  /// Marks packets that ask for nothing and are longer than this receiver takes.
  private mutating func dropLong(_ burst: PacketBurst, for receiver: NetGuest) {
    for i in 0..<burst.count where (offloaded | dropped) & 1 << Packets(i) == 0 {
      if burst[i].length - sender.headerLength > receiver.frameLength { drop(i, for: .longerThanMTU) }
    }
  }

  /// Fills a burst with packets and segments, from a position on.
  private mutating func fill(
    _ target: PacketBurst, from burst: PacketBurst, at position: Position, for receiver: NetGuest
  ) {
    target.clear()
    due.removeAll(keepingCapacity: true)
    var at = position
    while at.packet < burst.count {
      if burst[at.packet].outcome == .pending && !isDropped(at.packet) {
        let source = source(at.packet, burst, for: receiver)
        while at.segment < source.count {
          guard source.append(at.segment, from: burst, to: target) else {
            if target.count > 0 {
              due.append(at)
              return
            }
            // The other header's length makes it longer than any packet.
            drop(at.packet, for: .longerThanMTU)
            break
          }
          due.append(at)
          at.segment += 1
        }
      }
      at = Position(packet: at.packet + 1)
    }
    due.append(at)
  }

  private func source(_ packet: Int, _ burst: PacketBurst, for receiver: NetGuest) -> NetSource {
    if segmented & 1 << Packets(packet) != 0,
      case .segments(let all, let header) = delivery(of: packet, burst, to: receiver)
    {
      return NetSource(packet: packet, segmentation: all, header: header, sender: sender, receiver: receiver)
    }
    let header = burst.withPayload(packet, headerLength: 0) {
      NetHeader(decoding: $0.span, length: sender.headerLength)
    }
    return NetSource(packet: packet, segmentation: nil, header: header, sender: sender, receiver: receiver)
  }

  // MARK: Packets

  /// What has to be done with a packet whose header is right.
  private func delivery(of packet: Int, _ burst: PacketBurst, to receiver: NetGuest) -> NetDelivery {
    let headerLength = sender.headerLength
    return NetTranslation.offload(
      burst, packet, headerLength: headerLength, features: .netHostOffloads, frameLength: .max
    ).delivery(
      length: burst[packet].length - headerLength, to: receiver.features, maxLength: receiver.frameLength)
  }

  /// The checked meaning of a packet's header.
  private static func offload(
    _ burst: PacketBurst, _ packet: Int, headerLength: Int, features: Features, frameLength: Int
  ) -> NetOffload {
    let header = burst.withPayload(packet, headerLength: 0) { NetHeader(decoding: $0.span, length: headerLength) }
    return burst.withPayload(packet, headerLength: headerLength) {
      NetOffload(header, frame: $0.span, features: features, maxLength: frameLength)
    }
  }

  private static func write(_ header: NetHeader, _ burst: PacketBurst, _ packet: Int, headerLength: Int) {
    burst.withPayload(packet, headerLength: 0) { header.encode(into: &$0, length: headerLength) }
  }

  @inline(__always) static func forEach(_ packets: Packets, _ body: (Int) -> Void) {
    var rest = packets
    while rest != 0 {
      body(rest.trailingZeroBitCount)
      rest &= rest &- 1
    }
  }
}
