import NetTestSupport
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A switch whose ports are served turn by turn.
struct SwitchTests {
  private let now = TestClock()

  final class TestClock: Sendable {
    let seconds = Atomic<Int>(1000)
    func advance(_ by: Int) { seconds.add(by, ordering: .relaxed) }
  }

  private func makeSwitch() throws -> Switch {
    try Switch("lan") { [now] in UInt32(now.seconds.load(ordering: .relaxed)) }
  }

  private func guests(_ count: Int, on network: Switch) throws -> [SwitchedGuest] {
    let guests = try (1...count).map { try SwitchedGuest(network, "vm\($0)") }
    for guest in guests { guest.guest.offer() }
    return guests
  }

  /// Has everybody be told of by a broadcast, and forgets what came of it.
  private func introduce(_ guests: [SwitchedGuest]) throws {
    for (i, guest) in guests.enumerated() {
      guest.guest.send([TestFrame.make(to: TestFrame.broadcast, from: TestFrame.address(i + 1))])
      guest.turn()
    }
    for guest in guests {
      _ = try guest.frames()
      guest.guest.offer()
    }
  }

  @Test("What is unknown, multicast or broadcast goes to all others and never back; what is known to its port alone")
  func learning() throws {
    let all = try guests(3, on: try makeSwitch())
    let unknown = TestFrame.make(to: 2, from: 1, 7)
    all[0].guest.send([unknown])
    #expect(all[0].turn() == 1 && all[0].guest.sending() == 1)
    #expect(try all.map { try $0.frames() } == [[], [unknown], [unknown]])
    // The answer teaches where station 2 is.
    let answer = TestFrame.make(to: 1, from: 2, 8)
    all[1].guest.send([answer])
    all[1].turn()
    #expect(try all.map { try $0.frames() } == [[answer], [], []])
    let known = TestFrame.make(to: 2, from: 1, 9)
    let multicast = TestFrame.make(to: [1, 0, 0x5e, 0, 0, 1], from: TestFrame.address(1), 10)
    all[0].guest.send([known, multicast, known])
    all[0].turn()
    #expect(try all[0].frames() == [])
    #expect(try all[1].frames().sorted { $0[14] < $1[14] } == [known, known, multicast])
    #expect(try all[2].frames() == [multicast])
    let counters = all[0].counters
    #expect(counters.received == 4 && counters.forwarded == 2 && counters.flooded == 2 && counters.learned == 1)
  }

  @Test("A station that has moved to another port is found there; its old port hears nothing more")
  func moves() throws {
    let all = try guests(3, on: try makeSwitch())
    try introduce(all)
    all[2].guest.send([TestFrame.make(to: 1, from: 2)])
    all[2].turn()
    #expect(all[2].counters.moved == 1)
    let frame = TestFrame.make(to: 2, from: 1, 5)
    all[0].guest.send([frame])
    _ = try all[0].frames()
    #expect(try all[1].frames() == [] && all[2].frames() == [frame])
  }

  @Test("An address that has been silent for 300 s is forgotten, one that is heard of is not")
  func ageing() throws {
    let all = try guests(3, on: try makeSwitch())
    try introduce(all)
    for (seconds, isKnown) in [(300, true), (1, false)] {
      now.advance(seconds)
      let frame = TestFrame.make(to: 2, from: 1, seconds)
      all[0].guest.send([frame])
      all[0].turn()
      #expect(try all[1].frames() == [frame])
      #expect(try all[2].frames() == (isKnown ? [] : [frame]))
    }
    // Station 1 was heard of all the while.
    all[1].guest.send([TestFrame.make(to: 1, from: 2)])
    all[1].turn()
    #expect(try all[2].frames() == [] && all[0].frames().count == 1)
    // What is forgotten makes room, sooner or later, without anybody asking for it.
    for _ in 0..<20 {
      now.advance(301)
      all[0].guest.send([TestFrame.make(to: 1, from: 1)])
      all[0].turn()
    }
    #expect(all[2].member.network.statistics.map(\.addresses) == [1, 0, 0])
  }

  @Test("A guest that makes up addresses gets its quota, and pushes nobody out")
  func quota() throws {
    let all = try guests(3, on: try makeSwitch())
    try introduce(all)
    for first in stride(from: 1000, to: 6000, by: FrameGuest.size) {
      all[2].guest.send((first..<first + FrameGuest.size).map { TestFrame.make(to: 3, from: $0) })
      all[2].turn()
    }
    let statistics = all[2].member.network.statistics
    #expect(statistics.map(\.addresses) == [1, 1, SwitchTable.quota])
    let counters = all[2].counters
    #expect(counters.learned == UInt64(SwitchTable.quota) && counters.refused > 4000 && counters.moved == 0)
    // Nor can it take over an address when it has as many as it may have.
    all[2].guest.send([TestFrame.make(to: 1, from: 2)])
    all[2].turn()
    let frame = TestFrame.make(to: 2, from: 1, 77)
    _ = try all[0].frames()
    all[0].guest.send([frame])
    all[0].turn()
    #expect(try all[1].frames() == [frame])
    #expect(try all[2].frames() == [])
    // It is still served itself.
    all[0].guest.send([TestFrame.make(to: 3, from: 1, 78)])
    all[0].turn()
    #expect(try all[2].frames().map(TestFrame.content) == [78])
  }

  @Test("What is no frame, comes from nobody's address, or is for bridges only, is dropped and counted")
  func invalid() throws {
    let all = try guests(2, on: try makeSwitch())
    let wrong: [[UInt8]] = [
      [], [1], Array(TestFrame.make(to: 2, from: 1).prefix(13)),
      TestFrame.make(to: TestFrame.address(2), from: TestFrame.broadcast),
      TestFrame.make(to: TestFrame.address(2), from: [3, 0, 0, 0, 0, 1]),
      TestFrame.make(to: TestFrame.address(2), from: [0, 0, 0, 0, 0, 0]),
    ]
    let reserved = (0..<16).map { TestFrame.make(to: [1, 0x80, 0xc2, 0, 0, UInt8($0)], from: TestFrame.address(1)) }
    let right = TestFrame.make(to: [1, 0x80, 0xc2, 0, 0, 16], from: TestFrame.address(1))
    all[0].guest.send(wrong + reserved + [right, Array(TestFrame.make(to: 2, from: 1).prefix(14))])
    all[0].turn()
    #expect(try all[1].frames().map(\.count) == [60, 14])
    let counters = all[0].counters
    #expect(counters.invalid == UInt64(wrong.count) && counters.reserved == 16 && counters.learned == 1)
    #expect(all[0].guest.sending() > 0)
    #expect(try all[0].guest.receive().isEmpty)
  }

  @Test("What is for a station at the same port goes nowhere")
  func filtered() throws {
    let all = try guests(2, on: try makeSwitch())
    try introduce(all)
    all[0].guest.send([
      TestFrame.make(to: 1, from: 11), TestFrame.make(to: 11, from: 1), TestFrame.make(to: 11, from: 1),
    ])
    all[0].turn()
    #expect(try all[0].frames() == [] && all[1].frames() == [])
    #expect(all[0].counters.filtered == 3)
  }

  @Test("A guest that takes nothing loses what is for it; others get all of theirs, and no sender waits")
  func overflow() throws {
    let network = try makeSwitch()
    let all = try guests(3, on: network)
    try introduce(all)
    let before = all[1].counters.overflowed
    // Guest 2 takes what it has offered, and then nothing.
    let count = 40 * FrameGuest.size
    var received = 0
    for first in stride(from: 0, to: count, by: FrameGuest.size / 2) {
      let frames = (first..<first + FrameGuest.size / 2).flatMap {
        [TestFrame.make(to: 2, from: 1, $0), TestFrame.make(to: 3, from: 1, $0)]
      }
      #expect(all[0].guest.send(frames) == frames.count)
      #expect(all[0].turn() == frames.count)
      for frame in try all[2].frames() {
        #expect(TestFrame.content(frame) == received)
        received += 1
      }
      all[2].guest.offer()
    }
    received += try all[2].frames().count
    #expect(received == count)
    #expect(all[1].counters.overflowed - before == UInt64(count - SwitchInbox.capacity))
    // What waits is what came first, in order; the loss is in the ring's counters.
    var waiting: [Int] = []
    for _ in 0..<20 {
      all[1].guest.offer()
      waiting += try all[1].frames().map(TestFrame.content)
    }
    #expect(waiting == Array(0..<SwitchInbox.capacity))
    #expect(all[1].pairs[0].receive.counters.snapshot.dropped == UInt64(count - SwitchInbox.capacity))
    #expect(all[0].counters.unreachable == 0)
  }

  @Test("A disabled or stopped receive ring gets nothing, and what waited for it is gone")
  func disabled() throws {
    let network = try makeSwitch()
    let all = try guests(2, on: network)
    try introduce(all)
    let used = all[1].guest.offered()
    all[0].guest.send([TestFrame.make(to: 2, from: 1, 1)])
    all[0].turn()
    try all[1].setEnabled(false)
    all[0].guest.send([TestFrame.make(to: 2, from: 1, 2)])
    all[0].turn()
    #expect(all[0].counters.unreachable == 1)
    #expect(all[0].counters.forwarded == 1)
    all[1].turn()
    try all[1].setEnabled(true)
    #expect(try all[1].frames() == [] && all[1].guest.offered() == used)
    all[0].guest.send([TestFrame.make(to: 2, from: 1, 3)])
    all[0].turn()
    #expect(try all[1].frames().map(TestFrame.content) == [3])
  }

  @Test("A socket that goes leaves no address, no packet and no buffer")
  func tearDown() throws {
    let network = try makeSwitch()
    var all = try guests(3, on: network)
    try introduce(all)
    for _ in 0..<3 {
      all[0].guest.send((0..<20).flatMap { [TestFrame.make(to: 2, from: 1, $0), TestFrame.make(to: 99, from: 1)] })
      all[0].turn()
      all[1].turn()
    }
    try all[1].end()
    #expect(network.statistics.map(\.addresses) == [1, 0, 1])
    all.remove(at: 1)
    #expect(network.statistics.map(\.port) == ["vm1", "vm3"])
    for guest in all { try guest.end() }
    all.removeAll()
    #expect(network.statistics.isEmpty && network.pool.freeCount == network.pool.count)
  }

  @Test("Flooding is bounded in each turn, and what is too much stays with its sender")
  func floodBudget() throws {
    let all = try guests(3, on: try makeSwitch())
    let frames = (0..<24).map { TestFrame.make(to: TestFrame.broadcast, from: TestFrame.address(1), $0, length: 60000) }
    all[0].guest.send(frames)
    var received: [Int] = []
    var turns = 0
    while all[0].turn() > 0 {
      turns += 1
      all[2].guest.offer()
      received += try all[2].frames().map(TestFrame.content)
      all[1].guest.offer()
      _ = try all[1].frames()
    }
    all[2].guest.offer()
    received += try all[2].frames().map(TestFrame.content)
    #expect(received == Array(0..<24) && turns > 3)
    #expect(all[0].counters.flooded == 24)
  }

  @Test("The announcement of a guest that has arrived goes to all others, and teaches where it is")
  func announcement() throws {
    let all = try guests(3, on: try makeSwitch())
    try introduce(all)
    let address = try #require(MACAddress(bytes: TestFrame.address(2)))
    try all[2].pairs[0].announce(ReverseARP.request(for: address))
    #expect(try all.map { try $0.frames().count } == [1, 1, 0])
    all[0].guest.send([TestFrame.make(to: 2, from: 1, 5)])
    all[0].turn()
    #expect(try all[1].frames() == [] && all[2].frames().map(TestFrame.content) == [5])
    #expect(all[2].pairs[0].transmit.counters.snapshot.broadcastPackets == 2)
  }

  @Test("Packets of a flow stay on one queue pair and in order; flows spread over the pairs that receive")
  func flows() throws {
    let network = try makeSwitch()
    let sender = try SwitchedGuest(network, "vm1")
    let receiver = try SwitchedGuest(network, "vm2", pairs: 4)
    receiver.guest.send([TestFrame.make(to: TestFrame.broadcast, from: TestFrame.address(2))])
    receiver.turn()
    // The fourth pair is not in use.
    try receiver.setEnabled(false, pair: 3)
    func frame(_ flow: Int, _ number: Int) -> [UInt8] {
      let ip: [UInt8] = [0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
      return TestFrame.address(2) + TestFrame.address(1) + [8, 0] + ip + [UInt8(flow >> 8), UInt8(flow & 255), 0, 53]
        + [UInt8(flow >> 8), UInt8(flow & 255), UInt8(number)] + [UInt8](repeating: 0, count: 19)
    }
    var pairOf: [Int: Int] = [:]
    var next: [Int: Int] = [:]
    for number in 0..<8 {
      for first in stride(from: 0, to: 96, by: 16) {
        for pair in 0..<4 { receiver.guest.offer(pair: pair) }
        sender.guest.send((first..<first + 16).map { frame($0, number) })
        sender.turn()
        receiver.turn()
        for pair in 0..<4 {
          for packet in try receiver.guest.receive(pair: pair).map(\.frame) {
            let flow = Int(packet[38]) << 8 | Int(packet[39])
            #expect(pairOf[flow, default: pair] == pair && next[flow, default: 0] == Int(packet[40]))
            pairOf[flow] = pair
            next[flow] = Int(packet[40]) + 1
          }
        }
      }
    }
    #expect(next.count == 96 && next.values.allSatisfy { $0 == 8 })
    #expect(Set(pairOf.values) == [0, 1, 2])
  }

  @Test("No more queue pairs than there are buffers for")
  func full() throws {
    let network = try makeSwitch()
    var members = [try network.join("a", pairs: 100)]
    let error = #expect(throws: DatapathError.self) { _ = try network.join("b", pairs: 29) }
    #expect(error?.code == .inUse)
    members.append(try network.join("b", pairs: 28))
    members.removeFirst()
    members.append(try network.join("c", pairs: 100))
    #expect(network.statistics.map(\.port) == ["c", "b"])
  }
}
