import Datapath
import FrontEndTestSupport
import Logging
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// Rings that are kicked and that call by messages (vhost-user, In-band notifications).
struct InbandNotificationTests {
  @Test("Without any eventfd packets flow: a ring is started and kicked by message, and calls by message")
  func traffic() throws {
    let folder = TemporaryFolder()
    let software = try SoftwareEngine()
    let threads = try SessionThreads()
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let path = folder.path("vm0.sock")
    let socket = VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: path)), registry: Registry(software: software), threads: threads,
      logger: logger)
    try socket.enableProtocolFeatures(.inbandNotifications)
    try socket.start()
    let frontEnd = try RawFrontEnd(path: path)
    defer {
      frontEnd.hangUp()
      socket.stop()
      threads.stop()
      software.stop()
    }
    let guest = try Guest()
    try frontEnd.negotiate(protocolFeatures: [
      .multiqueue, .replyAck, .memorySlots, .backendRequests, .inbandNotifications,
    ])
    let (own, theirs) = try RawFrontEnd.pair()
    #expect(try frontEnd.tell(.setBackendRequestFD, descriptors: [theirs.rawValue]))
    let channel = BackChannelPeer(own)
    guest.share(with: frontEnd)
    for ring in guest.rings {
      guest.describe(ring, to: frontEnd)
      frontEnd.send(.setVringEnable, VringStatePayload(index: UInt32(ring.index), number: 1).encoded)
      // The first kick starts it.
      #expect(try frontEnd.tell(.vringKick, VringStatePayload(index: UInt32(ring.index)).encoded))
    }
    #expect(socket.status.isReady)
    for i in 0..<20 {
      let packet = [UInt8](repeating: UInt8(i), count: 60)
      try guest.postEmpty(guest.rings[0])
      try guest.postPacket(guest.rings[1], packet)
      #expect(try frontEnd.tell(.vringKick, VringStatePayload(index: 1).encoded))
      // Both rings have something for the guest.
      var called: Set<UInt32> = []
      while called.count < 2 {
        let next = try #require(try channel.next())
        guard case .vringCall(let index) = next.message else {
          Issue.record("\(next.message)")
          return
        }
        called.insert(index)
      }
      let received = try #require(try guest.take(from: guest.rings[0]))
      #expect(guest.read(received.address + 12, count: 60) == packet)
      _ = try #require(try guest.take(from: guest.rings[1]))
      while try channel.next(within: 5) != nil {}
    }
  }

  @Test("A ring that is found broken is told by message where it has no error descriptor")
  func error() throws {
    let world = try CapableWorld(
      enabling: .inbandNotifications,
      negotiating: CapableWorld.protocolFeatures.union(.inbandNotifications).subtracting(.hostNotifier))
    let channel = try world.openBackChannel()
    world.engine.report(.vringBroken(index: 2, reason: "it is torn"))
    let next = try #require(try channel.next())
    guard case .vringError(2) = next.message else {
      Issue.record("\(next.message)")
      return
    }
  }

  @Test("Without the protocol feature a kick by message is refused")
  func notNegotiated() throws {
    let world = try CapableWorld()
    #expect(try !world.frontEnd.tell(.vringKick, VringStatePayload(index: 0).encoded))
  }

  @Test("After a reset, too, a ring without an eventfd calls by message")
  func reset() throws {
    var state = SessionState(
      offer: SessionOffer(
        type: .net, features: [.version1, .accessPlatform],
        protocolFeatures: [.replyAck, .backendRequests, .inbandNotifications], queues: 1, maxRingSize: 256))
    _ = try state.apply(.setProtocolFeatures([.replyAck, .backendRequests, .inbandNotifications]))
    _ = try state.apply(.setFeatures([.version1, .protocolFeatures, .accessPlatform]))
    for _ in 0..<2 {
      _ = try state.apply(.setVringNum(VringStatePayload(index: 0, number: 64)))
      _ = try state.apply(
        .setVringAddress(
          VringAddressPayload(index: 0, descriptor: 0x1000, used: 0x3000, available: 0x2000)))
      _ = try state.apply(.vringKick(index: 0))
      #expect(state.vrings[0].call != nil && state.vrings[0].isCallInternal)
      state.resetVrings()
    }
  }
}
