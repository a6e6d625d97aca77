import Foundation
import FrontEndTestSupport
import Peers
import Testing
import VDPA
import VhostUser
import Virtio

/// QEMU's order of messages for a block device, as it was traced, message by message; and what QEMU trusts a back-end with that
/// it should not.
@Suite(.serialized)
struct QEMUBlockTests {
  /// What QEMU acknowledges of what it is offered: all that it has a number for, whether it knows what to do or not. The
  /// record of requests in flight has tests of its own.
  private static func acknowledged(_ offered: UInt64) -> ProtocolFeatures {
    ProtocolFeatures(rawValue: offered & (1 << 20 - 1)).subtracting(.inflightSharedMemory)
  }

  private static let features: Features = [
    .version1, .indirectDescriptors, .eventIndex, .blockFlush, .blockMultiqueue, .protocolFeatures,
  ]
  /// Bytes of configuration that QEMU 7.2 wants.
  private static let configurationSize = 57

  /// QEMU with one connection.
  private final class QEMU {
    let frontEnd: RawFrontEnd
    let guest: Guest
    let protocolFeatures: ProtocolFeatures
    /// The rings that its guest's driver uses; the device has more.
    let used: [Guest.Ring]
    private var backChannel: OwnedFD?

    init(_ path: String, _ guest: Guest, using count: Int) throws {
      self.guest = guest
      used = Array(guest.rings.prefix(count))
      frontEnd = try RawFrontEnd(path: path)
      let offered = Features(rawValue: try frontEnd.ask(.getFeatures))
      #expect(offered.contains(.protocolFeatures))
      protocolFeatures = acknowledged(try frontEnd.ask(.getProtocolFeatures))
      frontEnd.send(.setProtocolFeatures, bytes(protocolFeatures.rawValue))
    }

    func file(_ ring: Guest.Ring) -> [UInt8] {
      VringFilePayload(index: UInt32(ring.index), hasDescriptor: true).encoded
    }

    /// The rest of what it does when it connects; a configuration only the first time.
    func connect(isFirst: Bool) throws {
      #expect(try frontEnd.ask(.getQueueNum) == UInt64(guest.rings.count))
      if protocolFeatures.contains(.memorySlots) { #expect(try frontEnd.ask(.getMaximumMemorySlots) >= 32) }
      if protocolFeatures.contains(.backendRequests) {
        let (own, theirs) = try RawFrontEnd.pair()
        backChannel = own
        #expect(try frontEnd.tell(.setBackendRequestFD, descriptors: [theirs.rawValue]))
      }
      frontEnd.send(.setOwner)
      _ = try frontEnd.ask(.getFeatures)
      for ring in guest.rings {
        frontEnd.send(.setVringCall, file(ring), descriptors: [ring.call.rawValue])
        frontEnd.send(.setVringError, file(ring), descriptors: [ring.error.rawValue])
      }
      guard isFirst else { return }
      let wanted = ConfigurationPayload(offset: 0, bytes: Array(repeating: 0, count: configurationSize))
      frontEnd.send(.getConfiguration, wanted.encoded)
      // Neither another size nor another offset is taken.
      let answer = try #require(try frontEnd.answer())
      #expect(answer.payload.count == 12 + configurationSize && Array(answer.payload.prefix(4)) == [0, 0, 0, 0])
    }

    /// What it does when the guest's driver starts.
    func start(at positions: [UInt32]) throws {
      let wanted = bytes(features.rawValue)
      frontEnd.send(.setFeatures, wanted)
      // FEATURES_OK alone, which says nothing of the driver.
      _ = try frontEnd.ask(.getStatus)
      frontEnd.send(.setStatus, bytes(8))
      for ring in guest.rings { frontEnd.send(.setVringCall, file(ring), descriptors: [ring.call.rawValue]) }
      frontEnd.send(.setFeatures, wanted)
      #expect(
        try frontEnd.tell(
          .addMemoryRegion, SingleRegionPayload(region: guest.region).encoded, descriptors: [guest.file.rawValue]))
      for ring in used {
        guest.describe(ring, to: frontEnd, at: positions[ring.index])
        frontEnd.send(.setVringKick, file(ring), descriptors: [ring.kick.rawValue])
      }
      // All rings, also those that nobody has described.
      enable(true)
      _ = try frontEnd.ask(.getStatus)
      frontEnd.send(.setStatus, bytes(0x0f))
      #expect(try frontEnd.ask(.getStatus) == 0x0f)
    }

    private func enable(_ isEnabled: Bool) {
      for ring in guest.rings {
        frontEnd.send(
          .setVringEnable, VringStatePayload(index: UInt32(ring.index), number: isEnabled ? 1 : 0).encoded)
      }
    }

    /// What it does when the driver stops: the status first, the rings after it.
    func stop() throws -> [UInt32] {
      frontEnd.send(.setStatus, bytes(0))
      enable(false)
      let positions = try used.map { try frontEnd.stop($0.index) }
      #expect(try frontEnd.tell(.removeMemoryRegion, SingleRegionPayload(region: guest.region).encoded))
      return positions
    }

    /// A sector written and read on every ring in use.
    func use(round: Int) throws {
      for ring in used {
        let sector = UInt64(2 * round + ring.index)
        let data = (0..<512).map { UInt8(truncatingIfNeeded: $0 + round + ring.index) }
        #expect(
          try guest.request(BlockRequest(.write, sector: sector).encoded + data, room: 1, ring: ring.index) == [0])
        let read = try guest.request(BlockRequest(.read, sector: sector).encoded, room: 513, ring: ring.index)
        #expect(read == data + [0])
      }
    }
  }

  private func daemon(_ scratch: ScratchDirectory) throws -> Daemon {
    let image = scratch.file("disk.img")
    try Data(count: 128 * 512).write(to: URL(fileURLWithPath: image))
    return try Daemon(["--type", "block", "--blk-file", image, "--queues", "4"])
  }

  @Test(
    "Requests are served in QEMU's order, with rings that were never described, and no position is lost when it stops")
  func startsAndStops() async throws {
    try await blocking {
      let daemon = try daemon(try ScratchDirectory("qemu-block"))
      let guest = try Guest(queues: 2, features: [.indirectDescriptors, .eventIndex])
      let qemu = try QEMU(daemon.path, guest, using: 2)
      try qemu.connect(isFirst: true)
      var positions: [UInt32] = [0, 0]
      for round in 0..<3 {
        try qemu.start(at: positions)
        try qemu.use(round: round)
        positions = try qemu.stop()
        #expect(positions == Array(repeating: UInt32(2 * (round + 1)), count: 2))
      }
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("A front-end that comes back says where the rings stand by their used index, and goes on there")
  func reconnects() async throws {
    try await blocking {
      let scratch = try ScratchDirectory("qemu-block")
      let daemon = try daemon(scratch)
      let guest = try Guest(queues: 2, features: [.indirectDescriptors, .eventIndex])
      for round in 0..<3 {
        let qemu = try QEMU(daemon.path, guest, using: 2)
        try qemu.connect(isFirst: round == 0)
        try qemu.start(at: Array(repeating: UInt32(2 * round), count: 2))
        try qemu.use(round: round)
        // In the middle of everything.
        qemu.frontEnd.hangUp()
      }
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "What QEMU acknowledges without knowing it is not offered, nor what it strips with a warning",
    arguments: [["--type", "net"], ["--type", "net", "--engine", "simulator"], ["--type", "block"]])
  func offers(options: [String]) async throws {
    try await blocking {
      let scratch = try ScratchDirectory("qemu-block")
      let isBlock = options.contains("block")
      let image = scratch.file("disk.img")
      try Data(count: 512).write(to: URL(fileURLWithPath: image))
      let daemon = try Daemon(options + (isBlock ? ["--blk-file", image] : []))
      let frontEnd = try RawFrontEnd(path: daemon.path)
      let offered = ProtocolFeatures(rawValue: try frontEnd.ask(.getProtocolFeatures))
      #expect(
        offered.isDisjoint(with: [.inbandNotifications, .xenMapping, .crossEndian, .guestAddresses, .sharedMemory]))
      // Realize fails for a block device without it, and it warns of a network device with it.
      #expect(offered.contains(.configuration) == isBlock)
      // One queue is all that it would use.
      #expect(offered.contains(.multiqueue))
      #expect(try daemon.end() == .exited(0))
    }
  }
}
