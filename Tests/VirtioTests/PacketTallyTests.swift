import Testing

@testable import Virtio

struct PacketTallyTests {
  /// What each packet of a burst is like.
  private struct Packet {
    var length: Int
    var destination: [UInt8]
    var links: Int
    var outcome: PacketBurst.Outcome
  }

  /// The numbers by their classes, the plain way.
  private func classes(_ numbers: [Int], _ ranges: [ClosedRange<Int>]) -> [Int] {
    ranges.map { range in numbers.count { range.contains($0) } }
  }

  private static let lengths = [
    0...63, 64...64, 65...127, 128...255, 256...511, 512...1023, 1024...1518, 1519...Int.max,
  ]
  private static let links = [0...1, 2...2, 3...4, 5...8, 9...16, 17...32, 33...64, 65...Int.max]

  private func numbers(_ classes: SIMD8<Int16>) -> [Int] { (0..<8).map { Int(classes[$0]) } }

  private func check(_ packets: [Packet], _ line: SourceLocation = #_sourceLocation) {
    let burst = PacketBurst()
    for packet in packets {
      #expect(
        burst.append(length: packet.length) { payload in
          for i in 0..<min(packet.length, 6) { payload[i] = packet.destination[i] }
        }, sourceLocation: line)
      unsafe burst.slots[burst.count - 1].links = UInt16(packet.links)
      // Whatever it was written to is of another number.
      unsafe burst.slots[burst.count - 1].targetLinks = UInt16(packet.links ^ 0x55)
      burst.setOutcome(packet.outcome, of: burst.count - 1)
    }
    for isGiven in [false, true] {
      let tally = isGiven ? burst.tallyGiven(count: burst.count) : burst.tallyTaken(first: 0, count: burst.count)
      let counted = packets.filter { $0.outcome != .oversized && !(isGiven && $0.outcome == .undeliverable) }
      #expect(tally.packets == counted.count, sourceLocation: line)
      #expect(tally.bytes == counted.reduce(0) { $0 + $1.length }, sourceLocation: line)
      #expect(
        numbers(tally.lengthClasses) == classes(counted.map(\.length), Self.lengths), "\(packets)", sourceLocation: line
      )
      #expect(
        numbers(tally.linkClasses) == classes(counted.map { isGiven ? $0.links ^ 0x55 : $0.links }, Self.links),
        "\(packets)", sourceLocation: line)
      let groups = counted.filter { $0.length >= 6 && $0.destination[0] & 1 != 0 }
      let all = groups.count { $0.destination == Array(repeating: 0xff, count: 6) }
      #expect(tally.broadcast == all && tally.multicast == groups.count - all, sourceLocation: line)
      let oversized = packets.count { $0.outcome == (isGiven ? .undeliverable : .oversized) }
      #expect(tally.oversized == oversized, sourceLocation: line)
    }
  }

  @Test("Every length around a border falls into its class, and so does every number of descriptors")
  func borders() {
    let lengths = [0, 1, 5, 6, 63, 64, 65, 127, 128, 255, 256, 511, 512, 1023, 1024, 1518, 1519, 32767, 32768, 65550]
    for length in lengths {
      check([Packet(length: length, destination: [0, 0, 0, 0, 0, 0], links: 1, outcome: .pending)])
    }
    for links in [0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 1024, 32767, 32768, 65535 - 0x55] {
      check([Packet(length: 64, destination: [0, 0, 0, 0, 0, 0], links: links, outcome: .delivered)])
      #expect(Self.links[PacketTally.linkClass(of: links)].contains(links))
    }
  }

  @Test("Bursts of any packets are counted as one by one")
  func random() {
    var generator = SystemRandomNumberGenerator()
    let destinations: [[UInt8]] = [
      [0x52, 0x54, 0, 1, 2, 3], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [0x01, 0, 0x5e, 0, 0, 1],
      [0x33, 0x33, 0, 0, 0, 1], [0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff],
    ]
    let outcomes: [PacketBurst.Outcome] = [.pending, .delivered, .delivered, .delivered, .oversized, .undeliverable]
    for _ in 0..<500 {
      check(
        (0..<Int.random(in: 0...32, using: &generator)).map { _ in
          Packet(
            length: Int.random(in: 0...(Bool.random() ? 130 : 2000), using: &generator),
            destination: destinations.randomElement(using: &generator) ?? destinations[0],
            links: Int.random(in: 1...(Bool.random() ? 3 : 70), using: &generator),
            outcome: outcomes.randomElement(using: &generator) ?? .pending)
        })
    }
  }

  @Test("Only the packets that were asked for are counted")
  func part() {
    let burst = PacketBurst()
    for i in 0..<10 { burst.append(length: 64 + i) { $0[0] = 0 } }
    #expect(burst.tallyTaken(first: 3, count: 4).bytes == 67 + 68 + 69 + 70)
    #expect(burst.tallyGiven(count: 2).bytes == 64 + 65)
    #expect(burst.tallyTaken(first: 10, count: 0).packets == 0)
  }
}

extension PacketBurst {
  fileprivate func setOutcome(_ outcome: Outcome, of index: Int) {
    setOutcome(outcome, targetLinks: self[index].targetLinks, of: index)
  }
}
