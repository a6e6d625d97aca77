import FrontEndTestSupport
import Peers
import Testing
import VDPA
import VhostUser
import Virtio

/// Rings of both formats from a front-end to the device and back: what may be negotiated for them, every size, every
/// position, as many as there can be.
@Suite(.serialized)
struct RingFormatTests {
  private static let engines = [[], ["--engine", "simulator:queues=128,ring-size=32768"]]

  @Test(
    "Packets flow with tables, event indices and order, and with each left out", arguments: engines,
    RingLayout.Format.allCases)
  func features(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(["--queues", "2"] + engine)
      let some: [Features] = [.indirectDescriptors, .eventIndex, .inOrder]
      for choice in 0..<8 {
        let features = some.enumerated().reduce(into: Features()) {
          if choice >> $1.offset & 1 == 1 { $0.insert($1.element) }
        }
        try behaveWell(at: daemon.path, queues: 2, format: format, features: features, packets: 200)
      }
      #expect(try daemon.end() == .exited(0))
    }
  }

  /// Twice around in the small rings; the others start shortly before their end.
  @Test(
    "Rings of any size the format has, to the largest, go on beyond their end", arguments: engines,
    RingLayout.Format.allCases)
  func sizes(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(["--queues", "1"] + engine)
      let sizes = [1, 2, 4, 256, 32768] + (format == .packed ? [3, 7, 100, 255, 32767] : [])
      for size in sizes {
        let isSmall = size <= 8
        let start: UInt16? = isSmall ? nil : format == .split ? UInt16.max - 2 : UInt16(size - 3)
        let guest = try Guest(format: format, ringSize: size, startingAt: start)
        let frontEnd = try RawFrontEnd(path: daemon.path)
        try guest.run(with: frontEnd)
        let count = isSmall ? 2 * size + 3 : 8
        for i in 0..<count { #expect(try guest.exchange([UInt8(i), 1]) == [UInt8(i), 1], "\(size) descriptors") }
        for ring in guest.rings {
          #expect(try frontEnd.stop(ring.index) == ring.position(after: count), "\(size) descriptors")
        }
        frontEnd.hangUp()
      }
      #expect(try daemon.end() == .exited(0))
    }
  }

  /// Front-ends differ in what they say of a packed ring's used position.
  @Test("A packed ring starts where the available position says, the used one set or not", arguments: engines)
  func halfPosition(engine: [String]) async throws {
    try await blocking {
      let daemon = try Daemon(engine)
      for start: UInt16 in [0, 0x8000, 41, 0x8029] {
        for used in [UInt32(start) << 16, 0] {
          let guest = try Guest(format: .packed, startingAt: start)
          let frontEnd = try RawFrontEnd(path: daemon.path)
          try guest.run(with: frontEnd, at: [UInt32(start) | used, UInt32(start) | used])
          for i in 0..<70 { #expect(try guest.exchange([UInt8(i)]) == [UInt8(i)]) }
          frontEnd.hangUp()
        }
      }
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "A ring that is stopped after any packet goes on behind it", arguments: engines, RingLayout.Format.allCases)
  func everyPosition(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(engine)
      let guest = try Guest(format: format, ringSize: format == .split ? 4 : 5)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      try guest.run(with: frontEnd)
      for i in 0..<24 {
        #expect(try guest.exchange([UInt8(i), 3, 5]) == [UInt8(i), 3, 5])
        // In one round the receive ring goes first, in the next the transmit ring.
        for ring in i % 2 == 0 ? guest.rings : guest.rings.reversed() {
          let position = try frontEnd.stop(ring.index)
          #expect(position == ring.position(after: i + 1))
          // A second question has the same answer.
          #expect(try frontEnd.stop(ring.index) == position)
          guest.start(ring, with: frontEnd, at: position)
        }
        _ = try frontEnd.ask(.getStatus)
      }
      frontEnd.hangUp()
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "Rings go on at another daemon where one has stopped them, with nothing lost", arguments: RingLayout.Format.allCases
  )
  func otherDaemon(format: RingLayout.Format) async throws {
    try await blocking {
      let daemons = try (0..<4).map { try Daemon(Self.engines[$0 % 2]) }
      let guest = try Guest(format: format, features: [.eventIndex, .indirectDescriptors])
      var positions: [UInt32]?
      for (round, daemon) in daemons.enumerated() {
        let frontEnd = try RawFrontEnd(path: daemon.path)
        // What is made available while nobody serves the rings is found by the next one.
        if round > 0 {
          try guest.postEmpty(guest.rings[0])
          try guest.postPacket(guest.rings[1], [UInt8(round), 99])
        }
        try guest.run(with: frontEnd, at: positions)
        if round > 0 {
          let received = try #require(try guest.take(from: guest.rings[0]))
          #expect(guest.read(received.address + 12, count: Int(received.length) - 12) == [UInt8(round), 99])
          #expect(try guest.take(from: guest.rings[1]) != nil)
        }
        for i in 0..<45 {
          #expect(try guest.exchange([UInt8(round), UInt8(i)], isIndirect: i % 3 == 0) == [UInt8(round), UInt8(i)])
        }
        positions = try guest.rings.map { try frontEnd.stop($0.index) }
        frontEnd.hangUp()
      }
      for daemon in daemons { #expect(try daemon.end() == .exited(0)) }
    }
  }

  @Test("The format may change from one start of the rings to the next, on one connection", arguments: engines)
  func otherFormat(engine: [String]) async throws {
    try await blocking {
      let daemon = try Daemon(engine)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      for round in 0..<4 {
        let guest = try Guest(format: round % 2 == 0 ? .packed : .split)
        if round == 0 {
          try frontEnd.negotiate(features: guest.features)
        } else {
          frontEnd.send(.setFeatures, bytes(guest.features.union(.protocolFeatures).rawValue))
        }
        guest.share(with: frontEnd)
        for ring in guest.rings { guest.start(ring, with: frontEnd) }
        frontEnd.send(.setStatus, bytes(0x0f))
        _ = try frontEnd.ask(.getStatus)
        for i in 0..<70 { #expect(try guest.exchange([UInt8(round), UInt8(i)]) == [UInt8(round), UInt8(i)]) }
        frontEnd.send(.setStatus, bytes(0))
        for ring in guest.rings { #expect(try frontEnd.stop(ring.index) == ring.position(after: 70)) }
        #expect(try frontEnd.tell(.removeMemoryRegion, SingleRegionPayload(region: guest.region).encoded))
      }
      frontEnd.hangUp()
      #expect(try daemon.end() == .exited(0))
    }
  }

  /// As many as the protocol can name: 256 rings.
  @Test(
    "128 queue pairs carry packets, are stopped and go on, each by itself", arguments: engines,
    RingLayout.Format.allCases)
  func manyQueues(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let queues = 128
      let daemon = try Daemon(["--queues", "\(queues)"] + engine)
      let idle = try daemon.settledHoldings()
      let guest = try Guest(queues: queues, format: format)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      try guest.run(with: frontEnd)
      var positions: [UInt32] = []
      for round in 0..<2 {
        for i in 0..<2 {
          for pair in 0..<queues {
            let packet = [UInt8(pair), UInt8(i), UInt8(round)]
            #expect(try guest.exchange(packet, pair: pair) == packet)
          }
        }
        positions = try guest.rings.map { try frontEnd.stop($0.index) }
        #expect(positions == guest.rings.map { $0.position(after: 2 * round + 2) })
        for ring in guest.rings { guest.start(ring, with: frontEnd, at: positions[ring.index]) }
        _ = try frontEnd.ask(.getStatus)
      }
      frontEnd.hangUp()
      #expect(daemon.settled(to: idle) == idle)
      #expect(try daemon.end() == .exited(0))
    }
  }
}
