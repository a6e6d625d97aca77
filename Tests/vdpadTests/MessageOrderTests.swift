import FrontEndTestSupport
import Peers
import Testing
import VDPA
import VhostUser
import Virtio

/// QEMU's order of messages for a net device with two queue pairs, as it was traced: ring messages before the features,
/// the status after and before the rings, one vhost device a pair.
@Suite(.serialized)
struct MessageOrderTests {
  private static let protocolFeatures: ProtocolFeatures = [.multiqueue, .replyAck, .memorySlots, .status]

  /// What QEMU does with each pair when it connects, the pair's rings enabled before there are features.
  private func connect(_ frontEnd: RawFrontEnd, _ guest: Guest, pair: Int) throws {
    _ = try frontEnd.ask(.getFeatures)
    _ = try frontEnd.ask(.getProtocolFeatures)
    frontEnd.send(.setProtocolFeatures, bytes(Self.protocolFeatures.rawValue))
    if pair == 0 {
      #expect(try frontEnd.ask(.getQueueNum) == 2)
      #expect(try frontEnd.ask(.getMaximumMemorySlots) >= 32)
      frontEnd.send(.setOwner)
      _ = try frontEnd.ask(.getFeatures)
    }
    for ring in guest.rings[2 * pair...2 * pair + 1] {
      let file = VringFilePayload(index: UInt32(ring.index), hasDescriptor: true).encoded
      frontEnd.send(.setVringCall, file, descriptors: [ring.call.rawValue])
      frontEnd.send(.setVringError, file, descriptors: [ring.error.rawValue])
    }
    enable(frontEnd, pair: pair, true)
  }

  private func enable(_ frontEnd: RawFrontEnd, pair: Int, _ enabled: Bool) {
    for index in [2 * pair, 2 * pair + 1] {
      frontEnd.send(.setVringEnable, VringStatePayload(index: UInt32(index), number: enabled ? 1 : 0).encoded)
    }
  }

  /// What it does when the guest's driver starts, with the rings where they stood.
  private func start(_ frontEnd: RawFrontEnd, _ guest: Guest, positions: [UInt32]) throws {
    let features = bytes(guest.features.union(.protocolFeatures).rawValue)
    for pair in 0..<2 {
      frontEnd.send(.setFeatures, features)
      if pair == 0 {
        let status = try frontEnd.ask(.getStatus)
        frontEnd.send(.setStatus, bytes(status | 8))
      }
      for ring in guest.rings[2 * pair...2 * pair + 1] {
        let file = VringFilePayload(index: UInt32(ring.index), hasDescriptor: true).encoded
        frontEnd.send(.setVringCall, file, descriptors: [ring.call.rawValue])
      }
      frontEnd.send(.setFeatures, features)
      if pair == 0 {
        #expect(
          try frontEnd.tell(
            .addMemoryRegion, SingleRegionPayload(region: guest.region).encoded, descriptors: [guest.file.rawValue]))
      }
      for ring in guest.rings[2 * pair...2 * pair + 1] {
        let index = UInt32(ring.index)
        let file = VringFilePayload(index: index, hasDescriptor: true).encoded
        guest.describe(ring, to: frontEnd, at: positions[ring.index])
        frontEnd.send(.setVringKick, file, descriptors: [ring.kick.rawValue])
      }
      enable(frontEnd, pair: pair, true)
    }
    _ = try frontEnd.ask(.getStatus)
    frontEnd.send(.setStatus, bytes(0x0f))
    #expect(try frontEnd.ask(.getStatus) == 0x0f)
  }

  /// What it does when the guest's driver stops: the status first, the rings after it.
  private func stop(_ frontEnd: RawFrontEnd, _ guest: Guest) throws -> [UInt32] {
    frontEnd.send(.setStatus, bytes(0))
    for pair in 0..<2 { enable(frontEnd, pair: pair, false) }
    let positions = try guest.rings.map { try frontEnd.stop($0.index) }
    #expect(try frontEnd.tell(.removeMemoryRegion, SingleRegionPayload(region: guest.region).encoded))
    return positions
  }

  /// Software, which stops single rings, and the simulator, which is closed at the first that is to stop.
  private static let engines = [[], ["--engine", "simulator:queues=2"]]

  @Test(
    "Packets flow before and after a stop in QEMU's order, and no position is lost", arguments: engines,
    RingLayout.Format.allCases)
  func qemu(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(["--queues", "2"] + engine)
      let guest = try Guest(queues: 2, format: format)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      for pair in 0..<2 { try connect(frontEnd, guest, pair: pair) }

      var positions = guest.rings.map { $0.position(after: 0) }
      for round in 0..<3 {
        try start(frontEnd, guest, positions: positions)
        for i in 0..<40 {
          let packet = [UInt8(round), UInt8(i)]
          for pair in 0..<2 where i < 30 || pair == 0 {
            #expect(try guest.exchange(packet, pair: pair) == packet)
          }
        }
        // A new call descriptor while packets flow: QEMU masks and unmasks interrupts like that.
        let masked = try EventFD.make()
        frontEnd.send(
          .setVringCall, VringFilePayload(index: 0, hasDescriptor: true).encoded, descriptors: [masked.rawValue])
        _ = try frontEnd.ask(.getStatus)
        #expect(EventFD.drain(masked) > 0, "a call may have got lost on its way to the old descriptor")
        positions = try stop(frontEnd, guest)
        let each = round + 1
        #expect(positions == zip(guest.rings, [40, 40, 30, 30]).map { $0.position(after: each * $1) })
      }
      frontEnd.hangUp()
      try behaveWell(at: daemon.path, queues: 2)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "While packets flow: a pair that starts late, a new kick descriptor, memory that comes and goes",
    arguments: engines,
    RingLayout.Format.allCases
  )
  func changesWhileRunning(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(["--queues", "2"] + engine)
      let guest = try Guest(queues: 2, format: format)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      try frontEnd.negotiate(features: guest.features)
      guest.share(with: frontEnd)
      for ring in guest.rings[0...1] { guest.start(ring, with: frontEnd) }
      frontEnd.send(.setStatus, bytes(0x0f))
      #expect(try guest.exchange([1], pair: 0) == [1])

      for ring in guest.rings[2...3] { guest.start(ring, with: frontEnd) }
      _ = try frontEnd.ask(.getStatus)
      #expect(try guest.exchange([2], pair: 1) == [2])

      // From here on the guest kicks new descriptors only; of both rings, or one kick would wake the pair for the other.
      for ring in guest.rings[0...1] {
        ring.kick = try EventFD.make()
        let file = VringFilePayload(index: UInt32(ring.index), hasDescriptor: true).encoded
        #expect(try frontEnd.tell(.setVringKick, file, descriptors: [ring.kick.rawValue]))
      }
      for i in 0..<20 { #expect(try guest.exchange([UInt8(i)], pair: 0) == [UInt8(i)]) }

      let more = try Guest()
      let region = SingleRegionPayload(
        region: MemoryRegionPayload(guestAddress: 1 << 40, size: more.size, userAddress: 1 << 40, mapOffset: 0)
      ).encoded
      for i in 0..<20 {
        #expect(try frontEnd.tell(.addMemoryRegion, region, descriptors: [more.file.rawValue]))
        #expect(try guest.exchange([UInt8(i)], pair: 1) == [UInt8(i)])
        #expect(try frontEnd.tell(.removeMemoryRegion, region))
        #expect(try guest.exchange([UInt8(i)], pair: 1) == [UInt8(i)])
      }
      #expect(try frontEnd.stop(2) == guest.rings[2].position(after: 41))
      frontEnd.hangUp()
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "Without the protocol's features the rings are enabled from the start, and the table is sent whole",
    arguments: engines, RingLayout.Format.allCases)
  func plain(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(engine)
      let guest = try Guest(format: format)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      frontEnd.send(.setOwner)
      _ = try frontEnd.ask(.getFeatures)
      for ring in guest.rings {
        let index = UInt32(ring.index)
        let file = VringFilePayload(index: index, hasDescriptor: true).encoded
        frontEnd.send(.setVringCall, file, descriptors: [ring.call.rawValue])
      }
      frontEnd.send(.setFeatures, bytes(guest.features.subtracting([.netMergeableBuffers]).rawValue))
      guest.share(with: frontEnd, inSlots: false)
      for ring in guest.rings {
        let index = UInt32(ring.index)
        let file = VringFilePayload(index: index, hasDescriptor: true).encoded
        guest.describe(ring, to: frontEnd)
        frontEnd.send(.setVringKick, file, descriptors: [ring.kick.rawValue])
      }
      #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3])
      // The same table again, while the rings run.
      guest.share(with: frontEnd, inSlots: false)
      #expect(try guest.exchange([4, 5, 6]) == [4, 5, 6])
      for ring in guest.rings { #expect(try frontEnd.stop(ring.index) == ring.position(after: 2)) }
      frontEnd.hangUp()
      #expect(try daemon.end() == .exited(0))
    }
  }
}
