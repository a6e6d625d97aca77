import Datapath
import Glibc
import Logging
import Synchronization
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// A running guest moves between the software datapath and a simulated device, with numbered packets under way of which none
/// may be lost, come twice, or be altered.
@Suite(.serialized)
struct LiveSwitchTests {
  private static let ringSize = 256

  /// A guest with one queue pair whose rings run.
  private final class World {
    let socket: LoopbackSocket
    let guest: FrontendGuest
    let traffic: NumberedTraffic
    let frontend: Frontend

    init(_ format: RingLayout.Format, candidates: [LoopbackSocket.Server] = [.simulator]) throws {
      var features: Features = [.version1, .netMergeableBuffers, .indirectDescriptors, .eventIndex]
      if format == .packed { features.insert(.packedRing) }
      socket = try LoopbackSocket(.software, candidates: candidates)
      let size = LiveSwitchTests.ringSize
      guest = try FrontendGuest(
        features: features, vringCount: 2, ringSize: size,
        bufferBytes: NumberedTraffic.bufferBytes(ringSize: size, pairs: 1))
      traffic = try NumberedTraffic(guest)
      frontend = Frontend(try FrontendConnection(path: socket.path))
      try frontend.negotiate(features)
      try guest.start(over: frontend)
    }

    /// Lets packets go around while something else is done on another thread.
    func run(while body: @escaping @Sendable () throws -> Void) throws {
      let outcome = Mutex<Result<Void, any Error>?>(nil)
      let thread = try PinnedThread(name: "switcher") {
        let result = Result { try body() }
        outcome.withLock { $0 = result }
      }
      defer { thread.join() }
      var result: Result<Void, any Error>?
      while result == nil {
        #expect(try traffic.run(64))
        result = outcome.withLock { $0 }
      }
      try result?.get()
    }

    func finish() throws {
      #expect(try traffic.run(1000))
      let report = traffic.reports[0]
      #expect(report.isClean && report.received == report.sent, "\(report.counters)")
      try guest.stop()
    }
  }

  @Test("100 switches under traffic lose, repeat and alter nothing", arguments: RingLayout.Format.allCases)
  func switches(format: RingLayout.Format) throws {
    let world = try World(format)
    let (socket, simulator) = (world.socket.socket, world.socket.simulator)
    try world.run {
      for _ in 0..<50 {
        try socket.bind(simulator)
        #expect(socket.binding == simulator && socket.status.isReady && socket.status.datapath == "simulator")
        try socket.unbind()
        #expect(socket.binding == .software && socket.status.isReady && socket.status.datapath == "software")
      }
    }
    try world.finish()
  }

  @Test("Whoever is bound carries the packets", arguments: RingLayout.Format.allCases)
  func path(format: RingLayout.Format) throws {
    let world = try World(format)
    let (socket, simulator) = (world.socket.socket, world.socket.simulator)
    // Each device counts from when it was claimed, or made.
    for device in [DeviceHandle.software, simulator, .software, simulator] {
      try socket.bind(device)
      let before = socket.statistics.map(\.packets)
      #expect(try world.traffic.run(500))
      #expect(zip(socket.statistics.map(\.packets), before).map { $0 - $1 } == [500, 500], "\(device)")
    }
    try world.finish()
  }

  @Test("Another device to the guest is refused by what its driver sees, and whoever serves goes on")
  func anotherDevice() throws {
    let socket = try LoopbackSocket(.simulator, devices: 2)
    let features: Features = [.version1, .netMAC, .netMTU]
    let size = Self.ringSize
    let guest = try FrontendGuest(
      features: features, vringCount: 2, ringSize: size,
      bufferBytes: NumberedTraffic.bufferBytes(ringSize: size, pairs: 1))
    let traffic = try NumberedTraffic(guest)
    let frontend = Frontend(try FrontendConnection(path: socket.path))
    try frontend.negotiate(features)
    try guest.start(over: frontend)
    #expect(try traffic.run(100))
    let other = DeviceHandle(engine: socket.simulator.engine, device: 1)
    let error = try #require(throws: VDPAError.self) { try socket.socket.bind(other) }
    #expect(error.code == .notOffered && error.description.contains("mac (02:76:64:70:61:00 and 02:76:64:70:61:01)"))
    // Software lacks the MAC that the front-end has been promised.
    let lack = try #require(throws: VhostUserError.self) { try socket.socket.bind(.software) }
    #expect(lack.code == .notNegotiated && lack.description.contains("VIRTIO_NET_F_MAC"))
    #expect(socket.socket.binding == socket.simulator && socket.socket.status.isReady)
    #expect(try traffic.run(100))
    #expect(traffic.reports[0].isClean)
    try guest.stop()
  }

  @Test("Before a front-end comes, and before its rings run, the next device takes the place of the one before")
  func beforeTheRingsRun() throws {
    let world = try LoopbackSocket(.software, candidates: [.simulator])
    let socket = world.socket
    try socket.bind(world.simulator)
    // What the rings are laid out by, which the device has to be told although nobody accepts it anew.
    let features: Features = [.version1, .packedRing, .eventIndex, .indirectDescriptors]
    let guest = try FrontendGuest(
      features: features, vringCount: 2, ringSize: Self.ringSize,
      bufferBytes: NumberedTraffic.bufferBytes(ringSize: Self.ringSize, pairs: 1))
    let traffic = try NumberedTraffic(guest)
    let frontend = Frontend(try FrontendConnection(path: world.path))
    try frontend.negotiate(features)
    try socket.unbind()
    #expect(socket.status.isConnected && !socket.status.isReady)
    try socket.bind(world.simulator)
    try guest.start(over: frontend)
    #expect(try traffic.run(100))
    #expect(socket.status.datapath == "simulator" && socket.statistics.map(\.packets) == [100, 100])
    try guest.stop()
  }

  // MARK: Devices that fail

  @Test("A device that cannot be configured is undone: software goes on, and nothing is lost")
  func undone() throws {
    let world = try FailingWorld(startsWithFailing: false)
    #expect(try world.traffic.run(100))
    for operation in ["configure", "setFeatures"] {
      world.engine.fail(operation)
      let error = try #require(throws: VDPAError.self) { try world.socket.bind(world.failing) }
      #expect(error.description.contains("\(operation) was refused"))
      #expect(world.socket.binding == .software && world.socket.status.isReady)
      #expect(try world.traffic.run(100))
    }
    #expect(world.traffic.reports[0].isClean)
    // It was given back each time.
    world.engine.fail()
    try world.socket.bind(world.failing)
    try world.socket.unbind()
    #expect(try world.traffic.run(100))
    #expect(world.traffic.reports[0].isClean && world.traffic.reports[0].received == 400)
  }

  @Test("A device that has failed is followed by the next one, which is not taken for it", arguments: [false, true])
  func failed(isTooLate: Bool) throws {
    let world = try FailingWorld(startsWithFailing: true)
    // Either it is closed for its failure, or it reports that while it is closed for the switch.
    if isTooLate { world.engine.hold("close") }
    let engine = world.engine
    let reporter = try PinnedThread(name: "reporter") {
      if isTooLate {
        while !engine.calls.contains("close") { usleep(100) }
      }
      engine.reportFailure()
      usleep(1000)
      engine.hold()
    }
    defer { reporter.join() }
    if !isTooLate {
      for _ in 0..<20_000 where world.socket.status.isReady { usleep(100) }
      #expect(!world.socket.status.isReady)
    }
    try world.socket.unbind()
    #expect(try world.traffic.run(100))
    #expect(world.socket.status.isReady && world.socket.status.notReadyReason == nil)
    #expect(world.traffic.reports[0].isClean)
  }

  @Test(
    "A device that cannot be closed keeps the rings: the connection ends, and the next one is served by the next device"
  )
  func stuck() throws {
    let world = try FailingWorld(startsWithFailing: true)
    world.engine.fail("close")
    #expect(throws: VDPAError.self) { try world.socket.unbind() }
    #expect(world.socket.binding == world.failing)
    for _ in 0..<20_000 where world.socket.status.isConnected { usleep(100) }
    #expect(!world.socket.status.isConnected)
  }

  @Test("A socket that is stopped while a device takes over waits for that, and gives the device back")
  func stopped() throws {
    let world = try FailingWorld(startsWithFailing: false)
    let socket = world.socket
    let failing = world.failing
    world.engine.hold("configure")
    let binder = try PinnedThread(name: "binder") { try? socket.bind(failing) }
    for _ in 0..<20_000 where !world.engine.calls.contains("configure") { usleep(100) }
    let releaser = try PinnedThread(name: "releaser") { [engine = world.engine] in
      usleep(20_000)
      engine.hold()
    }
    socket.stop()
    #expect(socket.status.notReadyReason == "the socket is not started" && world.engine.calls.contains("close"))
    // Another may have it at once.
    try world.registry.claim(failing, type: .net, owner: "another").release()
    binder.join()
    releaser.join()
  }
}
