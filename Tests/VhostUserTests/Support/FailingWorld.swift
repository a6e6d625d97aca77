import Datapath
import Logging
import VDPA
import Virtio

@testable import VhostUser

/// A socket between software and a device that fails when it is told to, and a guest whose rings run.
final class FailingWorld {
  let engine: FailingEngine
  let software: SoftwareEngine
  let registry: Registry
  let threads: SessionThreads
  let socket: VhostUserSocket
  let failing: DeviceHandle
  let folder = TemporaryFolder()
  let guest: FrontendGuest
  let traffic: NumberedTraffic
  let frontend: Frontend

  /// - Parameters:
  ///   - startsWithFailing: Whether the socket is bound to it from the beginning.
  ///   - hasFence: Whether the device can be cut off from memory.
  init(
    startsWithFailing: Bool, failover: Failover = .off, format: RingLayout.Format = .split, hasFence: Bool = false,
    stalls: StallPolicy? = nil, returnsAfter: Int? = nil
  ) throws {
    engine = FailingEngine(isHonest: true, hasFence: hasFence)
    software = try SoftwareEngine()
    registry = Registry(software: software)
    try registry.register(engine)
    failing = DeviceHandle(engine: try registry.addEngine(driver: "failing", at: EngineAddress("x")), device: 0)
    threads = try SessionThreads()
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    var configuration = SocketConfiguration(endpoint: .listen(path: folder.path("s")), parameters: ["port": "loopback"])
    configuration.failover = failover
    configuration.stalls = stalls
    configuration.returnsAfter = returnsAfter
    socket = VhostUserSocket(configuration, registry: registry, threads: threads, logger: logger)
    try socket.setQueueCount(1)
    try socket.setCandidates([failing])
    if startsWithFailing { try socket.bind(failing) }
    try socket.start()
    let size = 256
    let features: Features = format == .packed ? [.version1, .packedRing] : .version1
    guest = try FrontendGuest(
      features: features, vringCount: 2, ringSize: size,
      bufferBytes: NumberedTraffic.bufferBytes(ringSize: size, pairs: 1))
    traffic = try NumberedTraffic(guest)
    frontend = Frontend(try FrontendConnection(path: folder.path("s")))
    try frontend.negotiate(features)
    try guest.start(over: frontend)
  }

  deinit {
    engine.hold()
    engine.fail()
    socket.stop()
    threads.stop()
    software.stop()
  }
}
