import NetTestSupport
import Peers
import Testing
import Virtio

@testable import Datapath

@Suite struct NetTranslationTests {
  private static let modern = TranslatedGuests.modern
  private static let all = TranslatedGuests.modern.union(.netOffloads)
  private static let sender = TranslatedGuests.modern.union(.netHostOffloads)

  private static func plain(_ length: Int) -> OffloadPacket {
    OffloadPacket(whole: (0..<length).map { UInt8(truncatingIfNeeded: $0 + length) })
  }

  // MARK: What goes as it is

  @Test("Packets that ask for nothing go in the burst that they came in")
  func plainPackets() {
    for features in [Self.modern, Self.all, []] {
      var guests = TranslatedGuests(from: features, to: features)
      guests.waiting = (0..<40).map { Self.plain(60 + $0) }
      let sent = guests.waiting
      #expect(guests.turn(room: 10) == .init(finished: 10, delivered: 10))
      #expect(guests.offered.count == 1 && guests.offered[0] === guests.burst)
      #expect(guests.turn(room: 100) == .init(finished: 30, delivered: 30))
      #expect(guests.received == sent)
      #expect(guests.translation.offloaded == 0 && guests.translation.dropped == 0)
      #expect(guests.turn(room: 100) == .init())
    }
  }

  @Test(
    "A guest that takes everything gets large and unfinished packets as they are, behind headers that mean the same")
  func asIs() {
    var guests = TranslatedGuests(from: Self.all, to: Self.all)
    let ecn = TCPFrame(isIPv6: true, payload: 3000, flags: TCPFrame.ack | TCPFrame.cwr)
    var sent = [
      OffloadPacket(unfinished: TCPFrame(payload: 20)), Self.plain(60),
      OffloadPacket(TCPFrame(payload: 9000), size: 1448),
      OffloadPacket(ecn, size: 1000),
    ]
    let expected = sent
    // What means nothing, or is not for a driver to say, does not reach the receiver.
    sent[0].header.flags |= 0xfe
    sent[0].header.gsoSize = 99
    sent[0].header.headerLength = 7
    sent[1].header = NetHeader(flags: 2, headerLength: 1, gsoSize: 2, checksumStart: 3, checksumOffset: 4)
    sent[2].header.headerLength = 0xffff
    sent[3].header.bufferCount = 5
    guests.waiting = sent
    #expect(guests.turn(room: 10) == .init(finished: 4, delivered: 4))
    #expect(guests.offered.count == 1 && guests.offered[0] === guests.burst)
    #expect(guests.received.dropLast() == expected.dropLast())
    #expect(guests.received[3].header.gsoType == 4 | 0x80 && guests.received[3].frame == expected[3].frame)
  }

  // MARK: What is done here

  @Test("A guest that takes no unfinished checksum gets finished ones, in the same burst")
  func checksums() {
    var guests = TranslatedGuests(from: Self.sender, to: Self.modern)
    let frames = [TCPFrame(payload: 21), TCPFrame(isIPv6: true, tags: 1, payload: 300)]
    guests.waiting = [Self.plain(60)] + frames.map { OffloadPacket(unfinished: $0) }
    #expect(guests.turn(room: 10) == .init(finished: 3, delivered: 3))
    #expect(guests.offered.count == 1 && guests.offered[0] === guests.burst)
    #expect(guests.received == [Self.plain(60)] + frames.map { OffloadPacket(whole: $0.complete) })
  }

  @Test("Giving packets back changes nothing: a checksum is not completed twice")
  func checksumsAgain() {
    var guests = TranslatedGuests(from: Self.sender, to: Self.modern)
    let frame = TCPFrame(payload: 21)
    guests.waiting = [OffloadPacket(unfinished: frame)]
    for _ in 0..<3 { #expect(guests.turn(room: 0) == .init()) }
    #expect(guests.turn(room: 1) == .init(finished: 1, delivered: 1))
    #expect(guests.received == [OffloadPacket(whole: frame.complete)])
  }

  @Test("A guest that takes no large packets gets segments, in order between the others, whatever room it gives a turn")
  func segments() {
    let flags = TCPFrame.ack | TCPFrame.fin | TCPFrame.psh | TCPFrame.cwr
    let four = TCPFrame(payload: 4001, flags: flags)
    let six = TCPFrame(isIPv6: true, tags: 2, payload: 3000, flags: flags)
    let sets: [Features] = [[], .netGuestChecksum, [.netGuestTSO4, .netGuestTSO6, .netGuestECN]]
    for receives in sets {
      let header = NetHeader(flags: receives == .netGuestChecksum ? NetHeader.dataValid : 0)
      let expected =
        [Self.plain(60)] + four.segments(of: 500).map { OffloadPacket(whole: $0, behind: header) } + [Self.plain(61)]
        + six.segments(of: 1000).map { OffloadPacket(whole: $0, behind: header) } + [Self.plain(62)]
      for room in 1...expected.count {
        var guests = TranslatedGuests(from: Self.sender, to: Self.modern.union(receives))
        guests.waiting = [
          Self.plain(60), OffloadPacket(four, size: 500), Self.plain(61), OffloadPacket(six, size: 1000),
          Self.plain(62),
        ]
        var turns = 0
        while !guests.waiting.isEmpty, turns < 100 {
          let progress = guests.turn(room: room)
          #expect(progress.delivered == min(room, expected.count - turns * room))
          turns += 1
        }
        #expect(guests.received == expected, "\(room) a turn")
        #expect(guests.translation.faults.total == 0)
      }
    }
  }

  @Test("A turn's work is bounded, and the next one goes on")
  func bounded() {
    var guests = TranslatedGuests(from: Self.sender, to: Self.modern)
    let frame = TCPFrame(payload: 3000)
    guests.waiting = [OffloadPacket(frame, size: 1), Self.plain(60)]
    var turns = 0
    while !guests.waiting.isEmpty, turns < 100 {
      let progress = guests.turn(room: .max)
      #expect(progress.delivered <= NetTranslation.maxRounds * PacketBurst.capacity)
      #expect(progress.delivered > 0 && guests.offered.count <= NetTranslation.maxRounds)
      turns += 1
    }
    #expect(turns == 12)
    #expect(guests.received == frame.segments(of: 1).map { OffloadPacket(whole: $0) } + [Self.plain(60)])
  }

  @Test("The longest packet becomes segments, all of which fit")
  func longest() {
    for isIPv6 in [false, true] {
      var guests = TranslatedGuests(from: Self.sender, to: Self.modern)
      let frame = TCPFrame(isIPv6: isIPv6, payload: 65_535 - (isIPv6 ? 60 : 40))
      guests.waiting = [OffloadPacket(frame, size: 1448), OffloadPacket(frame, size: 65_000)]
      #expect(guests.run { 7 } != nil)
      #expect(
        guests.received
          == frame.segments(of: 1448).map { OffloadPacket(whole: $0) }
          + frame.segments(of: 65_000).map { OffloadPacket(whole: $0) })
    }
  }

  // MARK: Packets that are delivered in part

  @Test("What is delivered in part belongs to its chain: another one starts with its first segment")
  func otherChain() {
    let frame = TCPFrame(payload: 100)
    let expected = frame.segments(of: 10).map { OffloadPacket(whole: $0) }
    var guests = TranslatedGuests(from: Self.sender, to: Self.modern)
    guests.waiting = [OffloadPacket(frame, size: 10)]
    #expect(guests.turn(room: 4) == .init(finished: 0, delivered: 4))
    guests.returned += 1
    #expect(guests.turn(room: 100) == .init(finished: 1, delivered: 10))
    #expect(guests.received == expected.prefix(4) + expected)
    // The same chain, but somebody else has returned it meanwhile.
    guests.waiting = [OffloadPacket(frame, size: 10)]
    #expect(guests.turn(room: 4) == .init(finished: 0, delivered: 4))
    guests.translation.forget()
    #expect(guests.turn(room: 100) == .init(finished: 1, delivered: 10))
  }

  @Test("A packet that changes while it is delivered in part comes to an end")
  func changed() {
    let frame = TCPFrame(payload: 100)
    var bad = OffloadPacket(frame, size: 10)
    bad.header.checksumStart = 0xffff
    let changes = [
      (OffloadPacket(frame, size: 50), 0), (Self.plain(60), 1), (OffloadPacket(unfinished: frame), 1), (bad, 0),
      (OffloadPacket(TCPFrame(payload: 200), size: 10), 16),
    ]
    for (packet, delivered) in changes {
      var guests = TranslatedGuests(from: Self.sender, to: Self.modern)
      guests.waiting = [OffloadPacket(frame, size: 10), Self.plain(70)]
      #expect(guests.turn(room: 4) == .init(finished: 0, delivered: 4))
      guests.waiting[0] = packet
      #expect(guests.turn(room: 100) == .init(finished: 2, delivered: delivered + 1))
      #expect(guests.received.last == Self.plain(70))
    }
  }

  // MARK: What is dropped

  /// A packet with each fault that the standard knows.
  private static let bad: [(NetHeaderFault, OffloadPacket)] = {
    let frame = TCPFrame(payload: 100)
    func packet(_ change: (inout OffloadPacket) -> Void) -> OffloadPacket {
      var packet = OffloadPacket(frame, size: 10)
      change(&packet)
      return packet
    }
    return [
      (.checksumOutside, packet { $0.header.checksumOffset = 0xffff }),
      (.segmentationNotNegotiated, packet { $0.header.gsoType = NetHeader.gsoUDP }),
      (.segmentationUnknown, packet { $0.header.gsoType = 2 }),
      (.segmentationWithoutChecksum, packet { $0.header.flags = 0 }),
      (.segmentSizeZero, packet { $0.header.gsoSize = 0 }),
      (.notTCP, packet { $0.frame[23] = 17 }),
      (.headerLength, packet { $0.frame.removeLast() }),
      (.checksumMisplaced, packet { $0.header.checksumStart += 1 }),
      (.longerThanMTU, OffloadPacket(whole: [UInt8](repeating: 0, count: 1523))),
      (.longerThanMTU, OffloadPacket(unfinished: TCPFrame(payload: 1469))),
    ]
  }()

  @Test("Packets with bad headers are dropped and counted once by reason, and the others arrive in order")
  func dropped() {
    for room in 1...8 {
      var guests = TranslatedGuests(from: Self.all.union(.netMTU), to: Self.all.union(.netMTU))
      var expected: [OffloadPacket] = []
      for (i, (_, packet)) in Self.bad.enumerated() {
        guests.waiting.append(packet)
        if i % 2 == 0 {
          guests.waiting.append(Self.plain(60 + i))
          expected.append(Self.plain(60 + i))
        }
      }
      let large = OffloadPacket(TCPFrame(payload: 4000), size: 1000)
      guests.waiting.append(large)
      expected.append(large)
      #expect(guests.run { room } != nil)
      #expect(guests.received == expected)
      for (fault, _) in Self.bad {
        #expect(guests.translation.faults[fault] == UInt64(Self.bad.filter { $0.0 == fault }.count), "\(fault)")
      }
      #expect(guests.translation.faults.total == UInt64(Self.bad.count))
    }
  }

  @Test("What was not negotiated is not done")
  func notNegotiated() {
    let frame = TCPFrame(payload: 100)
    let cases: [(Features, NetHeaderFault)] = [
      ([], .segmentationNotNegotiated), (.netHostTSO4, .checksumNotNegotiated),
      ([.netChecksum, .netHostTSO6], .segmentationNotNegotiated),
    ]
    for (features, fault) in cases {
      var guests = TranslatedGuests(from: Self.modern.union(features), to: Self.all)
      guests.waiting = [OffloadPacket(frame, size: 10), Self.plain(60)]
      #expect(guests.turn(room: 100) == .init(finished: 2, delivered: 1))
      #expect(guests.received == [Self.plain(60)])
      #expect(guests.translation.faults[fault] == 1)
    }
  }

  @Test("A burst of which nothing is left is finished without the receiver")
  func nothingLeft() {
    var guests = TranslatedGuests(from: Self.modern, to: Self.modern)
    guests.waiting = Array(repeating: OffloadPacket(unfinished: TCPFrame(payload: 1)), count: 40)
    #expect(guests.turn(room: 0) == .init(finished: 32, delivered: 0))
    #expect(guests.turn(room: 0) == .init(finished: 8, delivered: 0))
    #expect(guests.received.isEmpty && guests.offered.isEmpty)
    #expect(guests.translation.faults[.checksumNotNegotiated] == 40)
  }

  @Test("Whoever only takes packets counts what is dropped as far as it returns them")
  func finish() {
    var guests = TranslatedGuests(from: Self.modern, to: Self.modern)
    guests.waiting = [
      Self.plain(60), OffloadPacket(unfinished: TCPFrame(payload: 1)), Self.plain(60),
      OffloadPacket(unfinished: TCPFrame(payload: 1)),
    ]
    guests.take()
    #expect((0..<4).map { guests.translation.isDropped($0) } == [false, true, false, true])
    #expect(guests.translation.finish(0) == 0 && guests.translation.finish(1) == 0)
    #expect(guests.translation.faults.total == 0)
    #expect(guests.translation.finish(3) == 1)
    #expect(guests.translation.faults[.checksumNotNegotiated] == 1)
  }

  // MARK: Two guests

  @Test("Guests may have headers of different lengths")
  func headerLengths() {
    let frame = TCPFrame(payload: 100)
    let pairs: [(Features, Features)] = [([], Self.modern), (Self.modern, [])]
    for (from, to) in pairs {
      for receives in [Features(), .netGuestOffloads] {
        var guests = TranslatedGuests(from: from.union(.netHostOffloads), to: to.union(receives))
        guests.waiting = [Self.plain(60), OffloadPacket(unfinished: frame), OffloadPacket(frame, size: 60)]
        let large = guests.waiting[2]
        let segments = frame.segments(of: 60).map { OffloadPacket(whole: $0) }
        let unfinished = guests.waiting[1]
        #expect(guests.run { 1 } != nil)
        #expect(
          guests.received
            == [Self.plain(60)]
            + (receives.isEmpty ? [OffloadPacket(whole: frame.complete)] + segments : [unfinished, large]))
      }
    }
  }

  @Test("A packet that is too long with the other guest's header is dropped, not waited for")
  func tooLongBehindTheOtherHeader() {
    var guests = TranslatedGuests(from: [], to: Self.modern)
    guests.waiting = [Self.plain(PacketBurst.maxLength - 10), Self.plain(60)]
    #expect(guests.turn(room: 100) == .init(finished: 2, delivered: 1))
    #expect(guests.received == [Self.plain(60)])
    #expect(guests.translation.faults[.longerThanMTU] == 1)
  }

  @Test("The receiver's MTU drops whole packets and shortens segments")
  func receiverMTU() {
    let small = NetConfiguration(mac: .zero, mtu: 576)
    let receiver = NetGuest(features: Self.modern.union(.netMTU), configuration: small)
    #expect(receiver.frameLength == 598 && receiver.maxLength == 610)
    let frame = TCPFrame(payload: 2000)
    var guests = TranslatedGuests(from: Self.sender, to: Self.modern)
    guests.waiting = [
      Self.plain(598), Self.plain(599), OffloadPacket(unfinished: TCPFrame(payload: 545)),
      OffloadPacket(frame, size: 1448),
    ]
    guests.take()
    var received: [OffloadPacket] = []
    let progress = guests.translation.outbound(
      guests.burst, chain: { UInt16($0) }, to: receiver, through: guests.segments
    ) { given in
      received += (0..<given.count).map { TranslatedGuests.packet(given, $0, headerLength: 12) }
      return given.count
    }
    let expected = frame.segments(of: 598 - frame.headerLength).map { OffloadPacket(whole: $0) }
    #expect(received == [Self.plain(598)] + expected)
    #expect(progress == .init(finished: 4, delivered: 1 + expected.count))
    #expect(guests.translation.faults[.longerThanMTU] == 2)
  }

  // MARK: Hostile guests

  @Test("Whatever is sent, every packet is finished, and nothing but right packets arrives", arguments: 1...30)
  func random(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    for _ in 0..<10 {
      let receives = Features(rawValue: random.next()).intersection(.netGuestOffloads)
      var guests = TranslatedGuests(from: Self.all.union(.netMTU), to: Self.modern.union([receives, .netMTU]))
      for _ in 0..<20 { guests.waiting.append(Self.nearlyRight(&random)) }
      #expect(guests.run { Int.random(in: 1...60, using: &random) } != nil)
      for packet in guests.received {
        let offload = NetOffload(
          packet.header, frame: packet.frame.span, features: .netHostOffloads,
          maxLength: TranslatedGuests.configuration.frameLength)
        if case .invalid(let fault) = offload { Issue.record("\(packet.header) \(fault)") }
        #expect(receives.contains(.netGuestChecksum) || packet.header == NetHeader())
      }
    }
  }

  /// A packet of which some bytes may be wrong, in front or in itself.
  private static func nearlyRight(_ random: inout SplitMix64) -> OffloadPacket {
    let frame = TCPFrame(
      isIPv6: Bool.random(using: &random), tags: Int.random(in: 0...2, using: &random),
      payload: Int.random(in: 0...2000, using: &random), flags: UInt8.random(in: 0...255, using: &random))
    var packet = OffloadPacket(frame, size: Int.random(in: 0...2000, using: &random))
    for _ in 0..<Int.random(in: 0...2, using: &random) {
      packet.frame[Int.random(in: 0..<packet.frame.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
    }
    if Bool.random(using: &random) { packet.header.gsoType = UInt8.random(in: 0...255, using: &random) & 0x87 }
    if Bool.random(using: &random) { packet.header.flags = UInt8.random(in: 0...255, using: &random) }
    if random.next() % 4 == 0 { packet.header.checksumStart = UInt16.random(in: 0...0xffff, using: &random) }
    return packet
  }
}
