import Datapath
import FrontEndTestSupport
import Glibc
import Logging
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// What a session makes of a device that fails: undone or said, counted, and never acknowledged.
struct SessionFailureTests {
  /// A socket bound to a device that fails on command, with a front-end that has done all up to running rings.
  private final class World {
    let engine = FailingEngine()
    let software: SoftwareEngine
    let threads: SessionThreads
    let socket: VhostUserSocket
    let frontEnd: RawFrontEnd
    let guest: Guest
    private let folder = TemporaryFolder()

    init(failing operations: String...) throws {
      software = try SoftwareEngine()
      threads = try SessionThreads()
      let registry = Registry(software: software)
      try registry.register(engine)
      let handle = try registry.addEngine(driver: "failing", at: EngineAddress("nowhere"))
      var logger = Logger(label: "test")
      logger.logLevel = .critical
      let path = folder.path("vm0.sock")
      socket = VhostUserSocket(
        SocketConfiguration(endpoint: .listen(path: path)), registry: registry, threads: threads, logger: logger)
      try socket.bind(DeviceHandle(engine: handle, device: 0))
      try socket.start()
      if let first = operations.first { engine.fail(first) }
      guest = try Guest()
      frontEnd = try RawFrontEnd(path: path)
      try guest.run(with: frontEnd)
    }

    deinit {
      frontEnd.hangUp()
      engine.fail()
      socket.stop()
      threads.stop()
      software.stop()
    }

    /// Waits for the device's operation and what follows: an answer means that all before it has been served.
    func settle() throws { _ = try frontEnd.ask(.getStatus) }
  }

  @Test(
    "A device that cannot be configured leaves the socket not ready, with the reason, and the front-end may try again")
  func configure() throws {
    let world = try World(failing: "configure")
    try world.settle()
    let status = world.socket.status
    #expect(!status.isReady)
    #expect(status.notReadyReason?.contains("configure was refused") == true)
    #expect(status.notReadyReason?.contains("engine 0 device 0 (failing)") == true)
    #expect(status.deviceFailures == 1)
    world.engine.fail()
    #expect(try world.frontEnd.stop(0) == 0)
    #expect(try world.frontEnd.stop(1) == 0)
    for ring in world.guest.rings { world.guest.start(ring, with: world.frontEnd) }
    try world.settle()
    #expect(world.socket.status.isReady)
  }

  @Test(
    "A postcopy migration that was advised while its connection ended is over for the device too",
    .enabled(if: PageFaults.lack == nil))
  func postcopy() async throws {
    let world = try World()
    let path = world.socket.status.path
    // The only connection is this one.
    world.frontEnd.hangUp()
    while world.socket.status.isConnected { try await Task.sleep(for: .milliseconds(2)) }
    let frontEnd = try RawFrontEnd(path: path)
    try frontEnd.negotiate(protocolFeatures: [.multiqueue, .replyAck, .status, .pageFault])
    world.engine.hold("beginPostcopy")
    frontEnd.send(.postcopyAdvise)
    while !world.engine.calls.contains("beginPostcopy") { try await Task.sleep(for: .milliseconds(2)) }
    let socket = world.socket
    let thread = try PinnedThread(name: "stop") { socket.stop() }
    // The file goes as the connection does.
    while unsafe access(path, F_OK) == 0 { try await Task.sleep(for: .milliseconds(2)) }
    for _ in 0..<3 { await socket.loop.perform {} }
    world.engine.hold()
    thread.join()
    #expect(world.engine.calls.suffix(2) == ["beginPostcopy", "endPostcopy"])
    frontEnd.hangUp()
  }

  @Test("A vring message that the device refuses changes nothing, and the session goes on")
  func setVring() throws {
    let world = try World()
    try world.settle()
    #expect(world.socket.status.isReady)
    world.engine.fail("setVring")
    #expect(try !world.frontEnd.tell(.setVringEnable, VringStatePayload(index: 0, number: 0).encoded))
    world.engine.fail()
    #expect(try world.frontEnd.tell(.setVringEnable, VringStatePayload(index: 0, number: 0).encoded))
    #expect(world.socket.status.isReady)
  }

  @Test("A device that refuses a memory change is closed, and its rings answer from where it stood")
  func memoryChanged() throws {
    let world = try World()
    try world.settle()
    world.engine.fail("memoryChanged")
    let more = try Guest()
    let region = MemoryRegionPayload(
      guestAddress: 1 << 40, size: more.size, userAddress: 1 << 40, mapOffset: 0)
    #expect(
      try !world.frontEnd.tell(
        .addMemoryRegion, SingleRegionPayload(region: region).encoded, descriptors: [more.file.rawValue]))
    #expect(!world.socket.status.isReady)
    #expect(world.socket.status.deviceFailures == 1)
    #expect(try world.frontEnd.stop(0) == 40)
    #expect(try world.frontEnd.stop(1) == 41)
  }

  @Test("A device that cannot be closed is never acknowledged as stopped: the connection ends")
  func close() throws {
    let world = try World()
    try world.settle()
    world.engine.fail("close")
    world.frontEnd.send(.getVringBase, VringStatePayload(index: 0).encoded)
    #expect(try world.frontEnd.answer() == nil)
    #expect(world.socket.status.deviceFailures >= 1)
  }

  @Test("Nor does the connection go on when a device that has reported its failure cannot be closed")
  func closeAfterReportedFailure() throws {
    let world = try World()
    try world.settle()
    world.engine.fail("close")
    world.engine.reportFailure()
    #expect(try world.frontEnd.isClosed())
  }

  @Test("A device that reports its failure is closed; once its rings are stopped it may be used again")
  func reportedFailure() throws {
    let world = try World()
    try world.settle()
    world.engine.reportFailure()
    for _ in 0..<1000 where world.socket.status.isReady { usleep(1000) }
    #expect(world.socket.status.notReadyReason?.contains("it caught fire") == true)
    #expect(try world.frontEnd.stop(1) == 41)
    #expect(try world.frontEnd.stop(0) == 40)
    for ring in world.guest.rings { world.guest.start(ring, with: world.frontEnd, at: 40) }
    try world.settle()
    #expect(world.socket.status.isReady)
  }
}
