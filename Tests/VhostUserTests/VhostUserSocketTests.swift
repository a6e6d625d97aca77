import Datapath
import Foundation
import FrontEndTestSupport
import Logging
import SimulatorEngine
import Synchronization
import Testing
import VDPA
import VhostUser
import Virtio

/// The socket as an application sees it: what can be set before it starts, what it says when something is wrong, what it
/// tells while it runs.
struct VhostUserSocketTests {
  // MARK: Before the start

  @Test("A socket offers what its device has until it is told otherwise, bit by bit")
  func features() throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    let all = try socket.features
    #expect(all.isSuperset(of: [.version1, .netMergeableBuffers]))
    try socket.disableFeatures([.netMergeableBuffers])
    #expect(try socket.features == all.subtracting([.netMergeableBuffers]))
    try socket.disableFeatures([.netMergeableBuffers, .netMTU])
    #expect(try socket.features == all.subtracting([.netMergeableBuffers, .netMTU]))
    try socket.enableFeatures([.netMergeableBuffers])
    #expect(try socket.features == all.subtracting([.netMTU]))
    try socket.setFeatures([.version1])
    #expect(try socket.features == [.version1])

    let protocolFeatures = try socket.protocolFeatures
    #expect(protocolFeatures.isSuperset(of: [.multiqueue, .replyAck, .memorySlots, .status]))
    try socket.disableProtocolFeatures([.status])
    #expect(try socket.protocolFeatures == protocolFeatures.subtracting([.status]))
    try socket.enableProtocolFeatures([.status])
    #expect(try socket.protocolFeatures == protocolFeatures)
    try socket.setProtocolFeatures([.replyAck])
    #expect(try socket.protocolFeatures == [.replyAck])
  }

  @Test("The front-end is offered what was set, and nothing else")
  func offered() throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    try socket.setQueueCount(3)
    try socket.setFeatures([.version1, .netMultiqueue])
    try socket.setProtocolFeatures([.multiqueue, .replyAck])
    try socket.start()
    let frontEnd = try RawFrontEnd(path: socket.status.path)
    #expect(try frontEnd.ask(.getFeatures) == Features([.version1, .netMultiqueue, .protocolFeatures]).rawValue)
    #expect(try frontEnd.ask(.getProtocolFeatures) == ProtocolFeatures([.multiqueue, .replyAck]).rawValue)
    frontEnd.send(.setProtocolFeatures, bytes(ProtocolFeatures([.multiqueue, .replyAck]).rawValue))
    #expect(try frontEnd.ask(.getQueueNum) == 3)
    socket.stop()
  }

  @Test("A guest's IOMMU is offered only with a back-channel and REPLY_ACK, for QEMU refuses anything else")
  func accessPlatform() throws {
    let world = try TwoEngineWorld()
    for (protocolFeatures, isOffered) in [
      ([.replyAck, .backendRequests], true), ([.replyAck], false), ([.backendRequests], false),
    ] as [(ProtocolFeatures, Bool)] {
      let socket = world.socket()
      try socket.setProtocolFeatures(protocolFeatures)
      try socket.start()
      let frontEnd = try RawFrontEnd(path: socket.status.path)
      #expect(Features(rawValue: try frontEnd.ask(.getFeatures)).contains(.accessPlatform) == isOffered)
      socket.stop()
    }
  }

  @Test("Asking for what the device lacks names the bits, the device and the socket, and changes nothing")
  func lacking() throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    let (features, protocolFeatures) = (try socket.features, try socket.protocolFeatures)
    let ring = try #require(throws: VhostUserError.self) { try socket.enableFeatures([.orderPlatform]) }
    #expect(ring.code == .notNegotiated)
    #expect(ring.socket == "vm0.sock")
    #expect(ring.description.contains("software does not offer") && ring.description.contains("36"), "\(ring)")
    let crypto = try #require(throws: VhostUserError.self) {
      try socket.setProtocolFeatures([.replyAck, .cryptoSession])
    }
    #expect(crypto.code == .notNegotiated)
    #expect(crypto.description.contains("CRYPTO_SESSION (7)") && !crypto.description.contains("REPLY_ACK"), "\(crypto)")
    #expect(try socket.features == features && socket.protocolFeatures == protocolFeatures)

    let bound = world.socket("vm1.sock")
    try bound.bind(world.device(1))
    let announce = try #require(throws: VhostUserError.self) { try bound.enableFeatures([.netGuestAnnounce]) }
    #expect(announce.description.contains("engine 0 device 1 does not offer"), "\(announce)")
  }

  @Test("Queues: software makes as many as are wanted, another device has what it has")
  func queues() throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    #expect(try socket.queueCount == 1)
    try socket.setQueueCount(128)
    #expect(try socket.queueCount == 128)
    try socket.setQueueCount(2)
    #expect(try socket.queueCount == 2)
    for count in [Int.min, -1, 0] {
      #expect(throws: VhostUserError.self) { try socket.setQueueCount(count) }
    }
    #expect(throws: VDPAError.self) { try socket.setQueueCount(129) }
    #expect(try socket.queueCount == 2)

    let bound = world.socket("vm1.sock")
    try bound.bind(world.device(0))
    #expect(try bound.queueCount == 2)
    try bound.setQueueCount(1)
    #expect(try bound.queueCount == 1)
    #expect(bound.statistics.count == 2)
    let error = try #require(throws: VhostUserError.self) { try bound.setQueueCount(3) }
    #expect(error.code == .notNegotiated && error.description.contains("3 queues (it has 2)"), "\(error)")
    #expect(try bound.queueCount == 1)
  }

  @Test("A binding claims its device: another socket cannot have it until it is given back")
  func bindings() throws {
    let world = try TwoEngineWorld()
    let (one, two) = (world.socket("one"), world.socket("two"))
    #expect(one.binding == .software && one.status.datapath == "software")
    try one.bind(world.device(0))
    try one.bind(world.device(0))
    #expect(one.binding == world.device(0) && one.status.datapath == "simulator")
    let taken = try #require(throws: VDPAError.self) { try two.bind(world.device(0)) }
    #expect(taken.code == .deviceInUse && taken.description.contains("one"), "\(taken)")
    #expect(two.binding == .software)
    let missing = try #require(throws: VDPAError.self) { try two.bind(world.device(2)) }
    #expect(missing.code == .unknownDevice)
    #expect(throws: VDPAError.self) { try two.bind(world.device(-1)) }

    // Another device in its place, then none: each time the other socket can have the one before at once.
    try one.bind(world.device(1))
    try two.bind(world.device(0))
    #expect(throws: VDPAError.self) { try one.bind(world.device(0)) }
    #expect(one.binding == world.device(1))
    try two.unbind()
    try one.bind(world.device(0))
    #expect(throws: VDPAError.self) { try world.registry.removeEngine(world.engine) }
    try one.unbind()
    #expect(one.binding == .software && one.status.datapath == "software")
  }

  @Test("A handle of an engine that was removed is an error, never another engine")
  func stale() throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    let old = world.device(0)
    try world.registry.removeEngine(world.engine)
    let error = try #require(throws: VDPAError.self) { try socket.bind(old) }
    #expect(error.code == .staleHandle || error.code == .unknownEngine)
    let engine = try world.registry.addEngine(driver: "simulator", at: EngineAddress("virtual"))
    #expect(throws: VDPAError.self) { try socket.bind(old) }
    try socket.bind(DeviceHandle(engine: engine, device: 0))
    try socket.unbind()
    try world.registry.removeEngine(engine)
  }

  @Test("A type or a setting that no device takes is an error at the first look")
  func impossible() throws {
    let world = try TwoEngineWorld()
    #expect(throws: VDPAError.self) { try world.socket(type: .block).features }
    #expect(throws: VDPAError.self) { try world.socket(type: .block).start() }
    #expect(throws: VDPAError.self) { try world.socket("x", ["port": "tap"]).start() }
    #expect(throws: VDPAError.self) {
      let socket = world.socket(type: .block)
      try socket.bind(world.device(0))
    }
    // The device was given back.
    try world.socket().bind(world.device(0))
  }

  @Test("A block device's file is its own, also while the number of its queues is changed, until the socket goes")
  func file() throws {
    let world = try TwoEngineWorld()
    let path = world.folder.path("disk.img")
    try Data(count: 4096).write(to: URL(fileURLWithPath: path))
    var socket: VhostUserSocket? = world.socket(type: .block, ["blk-file": path])
    for count in [1, 4, 2] {
      try socket?.setQueueCount(count)
      #expect(try socket?.queueCount == count)
      #expect(try socket?.protocolFeatures.contains(.configuration) == true)
      let error = try #require(throws: VDPAError.self) {
        try world.socket("vm1.sock", type: .block, ["blk-file": path]).start()
      }
      #expect(error.description.contains("\(path): it is in use already"), "\(error)")
    }
    #expect(throws: VDPAError.self) { try socket?.setQueueCount(257) }
    #expect(try socket?.queueCount == 2)
    socket = nil
    let next = world.socket("vm1.sock", type: .block, ["blk-file": path, "read-only": "true"])
    #expect(try next.features.contains(.blockReadOnly))
  }

  @Test("What was restricted for one device is checked against the next")
  func rebound() throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    try socket.setFeatures([.version1, .netGuestAnnounce])
    try socket.bind(world.device(0))
    let error = try #require(throws: VhostUserError.self) { try socket.start() }
    #expect(error.code == .notNegotiated && error.description.contains("21"), "\(error)")
    #expect(socket.status.notReadyReason == "the socket is not started")
    try socket.setFeatures([.version1])
    try socket.start()
    socket.stop()
  }

  // MARK: Started

  @Test("Nothing but who serves can be set while it runs; everything again after it was stopped, and it starts again")
  func running() throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    try socket.bind(world.device(0))
    for _ in 0..<20 {
      try socket.start()
      for change: () throws -> Void in [
        { try socket.setFeatures([.version1]) }, { try socket.setCandidates([]) }, { try socket.enableFeatures([]) },
        { try socket.disableFeatures([]) }, { try socket.setProtocolFeatures([]) }, { try socket.setQueueCount(1) },
        { try socket.start() },
      ] {
        let error = try #require(throws: VhostUserError.self) { try change() }
        #expect(error.code == .outOfState && error.description.contains("vm0.sock"))
      }
      try socket.bind(world.device(1))
      #expect(throws: VDPAError.self) { try socket.bind(world.device(99)) }
      #expect(socket.binding == world.device(1))
      try socket.bind(world.device(0))
      socket.stop()
      #expect(socket.status.notReadyReason == "the socket is not started")
    }
    // Given back at once: another may have it.
    try world.socket("other").bind(world.device(0))
  }

  @Test("A path that cannot be listened on is an error with the socket's name, and the device is still the socket's")
  func badPath() throws {
    let world = try TwoEngineWorld()
    let (one, two) = (world.socket(), world.socket())
    try one.start()
    let error = try #require(throws: VhostUserError.self) { try two.start() }
    #expect(error.code == .pathInUse && error.socket == "vm0.sock")
    one.stop()
    try two.start()
    two.stop()
    two.stop()
  }

  @Test("At each stage it says what is missing", arguments: [false, true])
  func stages(isBound: Bool) async throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    if isBound { try socket.bind(world.device(0)) }
    try socket.setQueueCount(1)
    #expect(socket.status.notReadyReason == "the socket is not started")
    try socket.start()
    #expect(socket.status.notReadyReason == "no front-end is connected" && !socket.status.isConnected)

    let guest = try Guest()
    let frontEnd = try RawFrontEnd(path: socket.status.path)
    /// What is missing when all that was sent has been taken in.
    func reason() throws -> String? {
      _ = try frontEnd.ask(.getFeatures)
      // The answer goes out before the status is written down.
      _ = try frontEnd.ask(.getFeatures)
      #expect(socket.status.isConnected)
      #expect(socket.status.isReady == (socket.status.notReadyReason == nil))
      return socket.status.notReadyReason
    }
    #expect(try reason() == "the front-end has not accepted features yet (SET_FEATURES)")
    try frontEnd.negotiate()
    #expect(try reason() == "the front-end has not shared guest memory yet")
    guest.share(with: frontEnd)
    #expect(try reason() == "vring 0 is not started (SET_VRING_KICK)")
    guest.start(guest.rings[0], with: frontEnd)
    #expect(try reason() == "vring 1 is not started (SET_VRING_KICK)")
    guest.start(guest.rings[1], with: frontEnd)
    #expect(try reason() == "the guest's driver is not ready (DRIVER_OK)")
    frontEnd.send(.setStatus, bytes(0x0f))
    #expect(try reason() == nil)
    #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3])
    _ = try frontEnd.stop(1)
    _ = try frontEnd.stop(0)
    #expect(try reason() == "vring 0 is not started (SET_VRING_KICK)")
    frontEnd.hangUp()
    try await waits { socket.status.notReadyReason == "no front-end is connected" }
    socket.stop()
    #expect(socket.status.notReadyReason == "the socket is not started")
  }
}
