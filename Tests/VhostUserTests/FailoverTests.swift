import FrontEndTestSupport
import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// A device fails, and software takes over: the guest's packets are all there, and operators are told why (design §2).
@Suite(.serialized)
struct FailoverTests {
  private static func waits(_ condition: () -> Bool) -> Bool {
    for _ in 0..<50_000 {
      if condition() { return true }
      usleep(100)
    }
    return false
  }

  private final class Recorder: VhostUserSocketDelegate {
    let failovers = Mutex<[String]>([])
    let broken = Mutex<[Int]>([])
    let repeated = Mutex<[Int]>([])
    let stalled = Mutex<[Int]>([])
    func socket(_ socket: VhostUserSocket, event: SocketEvent) {
      switch event {
      case .failedOver(let old, let new, let reason):
        // Who is told finds it so.
        failovers.withLock { $0.append("\(old) \(new) \(socket.binding) \(reason)") }
      case .vringBroken(let index, _): broken.withLock { $0.append(index) }
      case .stalled(let index, _): stalled.withLock { $0.append(index) }
      case .requestsRepeated(let index, _): repeated.withLock { $0.append(index) }
      default: break
      }
    }
  }

  @Test("A device reports that it has failed: software goes on", arguments: RingLayout.Format.allCases)
  func reported(format: RingLayout.Format) throws {
    let world = try FailingWorld(startsWithFailing: true, failover: .software, format: format)
    let socket = world.socket
    let recorder = Recorder()
    socket.setDelegate(recorder)
    world.engine.reportFailure()
    #expect(try world.traffic.run(200))
    #expect(world.traffic.reports[0].isClean && world.traffic.reports[0].received == 200)
    let status = socket.status
    #expect(status.binding == .software && status.datapath == "software" && status.isReady)
    #expect(status.failovers == 1 && status.deviceFailures == 1)
    #expect(status.failoverReason?.contains("it caught fire") == true)
    let told = recorder.failovers.withLock { $0 }
    #expect(told.count == 1 && told[0].hasPrefix("\(world.failing) \(DeviceHandle.software) \(DeviceHandle.software) "))
    // It was given back.
    #expect(Self.waits { (try? world.registry.claim(world.failing, type: .net, owner: "another").release()) != nil })
    // The way back, and once more: each time somebody stands by.
    try socket.bind(world.failing)
    #expect(socket.binding == world.failing)
    world.engine.reportFailure()
    #expect(try world.traffic.run(200))
    #expect(world.traffic.reports[0].isClean && socket.status.failovers == 2)
    try world.guest.stop()
  }

  @Test("A socket that asks for it is bound to its device again, as soon as that can serve")
  func comesBack() throws {
    let world = try FailingWorld(startsWithFailing: true, failover: .software, returnsAfter: 5)
    let (socket, engine) = (world.socket, world.engine)
    engine.fail("configure")
    engine.reportFailure()
    #expect(try world.traffic.run(100))
    let tries = engine.calls.filter { $0 == "configure" }.count
    #expect(Self.waits { engine.calls.filter { $0 == "configure" }.count >= tries + 2 })
    #expect(socket.binding == .software && socket.status.failovers == 1)
    #expect(try world.traffic.run(100))
    engine.fail()
    #expect(Self.waits { socket.binding == world.failing && socket.status.isReady })
    // Whoever binds it meanwhile has the last word.
    engine.reportFailure()
    #expect(Self.waits { socket.binding == .software })
    engine.fail("configure")
    try socket.unbind()
    engine.fail()
    usleep(50_000)
    #expect(socket.binding == .software)
    #expect(try world.traffic.run(100))
    #expect(world.traffic.reports[0].isClean)
    try world.guest.stop()
  }

  @Test("Without failover nobody serves, until it is told to try again")
  func off() throws {
    let world = try FailingWorld(startsWithFailing: true)
    world.engine.reportFailure()
    #expect(Self.waits { !world.socket.status.isReady })
    #expect(world.socket.binding == world.failing && world.socket.status.failovers == 0)
    try world.socket.bind(world.failing)
    #expect(Self.waits { world.socket.status.isReady })
    world.engine.reportFailure()
    #expect(Self.waits { !world.socket.status.isReady })
    try world.socket.unbind()
    #expect(try world.traffic.run(100))
    try world.guest.stop()
  }

  @Test(
    "An operation that fails need not be known to the front-end",
    arguments: ["setVring", "memoryChanged", "setFeatures"])
  func operation(name: String) throws {
    let world = try FailingWorld(startsWithFailing: true, failover: .software)
    world.engine.fail(name)
    switch name {
    case "setVring": try world.frontend.setEnabled(true, vring: 0)
    case "memoryChanged":
      let more = try SharedRegion(
        MemoryRegion(guestAddress: 1 << 40, size: 4096, userAddress: 1 << 44, fileOffset: 0),
        file: MemoryFile.make("more", size: 4096))
      try world.frontend.share([more])
    default:
      let features = world.frontend.features.union(.protocolFeatures)
      var payload = WireWriter()
      payload.append(features.rawValue)
      try world.frontend.connection.tell(.setFeatures, payload.bytes, isAcknowledged: true)
    }
    #expect(try world.traffic.run(100))
    #expect(world.traffic.reports[0].isClean)
    #expect(world.socket.status.failovers == 1 && world.socket.status.datapath == "software")
    #expect(world.socket.status.failoverReason?.contains("\(name) was refused") == true)
    try world.guest.stop()
  }

  @Test("A device that fails when it is configured is followed by software")
  func configure() throws {
    let world = try FailingWorld(startsWithFailing: false, failover: .software)
    try world.guest.stop()
    try world.socket.bind(world.failing)
    world.engine.fail("configure")
    try world.guest.start(over: world.frontend)
    #expect(try world.traffic.run(100))
    #expect(world.traffic.reports[0].isClean && world.socket.status.failovers == 1)
    try world.guest.stop()
  }

  @Test("A device that cannot be stopped is cut off from memory, and a split ring goes on where it stands there")
  func fenced() throws {
    let world = try FailingWorld(startsWithFailing: true, failover: .software, hasFence: true)
    world.engine.fail("close")
    world.engine.reportFailure()
    #expect(try world.traffic.run(200))
    #expect(world.traffic.reports[0].isClean && world.traffic.reports[0].received == 200)
    #expect(world.engine.calls.contains("fence") && world.socket.status.datapath == "software")
    world.engine.fail()
    try world.guest.stop()
  }

  @Test("Of a packed ring nobody knows then: it is broken, and that is said")
  func lost() throws {
    let world = try FailingWorld(startsWithFailing: true, failover: .software, format: .packed, hasFence: true)
    let recorder = Recorder()
    world.socket.setDelegate(recorder)
    world.engine.fail("close")
    world.engine.reportFailure()
    #expect(Self.waits { recorder.broken.withLock { $0 } == [0, 1] })
    #expect(Self.waits { world.socket.status.notReadyReason?.contains("vring 0 is lost") == true })
    #expect(world.socket.status.isConnected && world.socket.status.datapath == "software")
    world.engine.fail()
  }

  @Test("A device that has work and does nothing is told of", arguments: RingLayout.Format.allCases)
  func stalled(format: RingLayout.Format) throws {
    let world = try FailingWorld(startsWithFailing: true, format: format, stalls: StallPolicy(milliseconds: 40))
    let recorder = Recorder()
    world.socket.setDelegate(recorder)
    // Nothing to do is no stall.
    usleep(200_000)
    #expect(recorder.stalled.withLock { $0 } == [])
    // It takes nothing.
    #expect(try !world.traffic.run(64, patience: .milliseconds(10)))
    #expect(Self.waits { recorder.stalled.withLock { $0 } == [1] })
    usleep(200_000)
    #expect(recorder.stalled.withLock { $0 } == [1] && world.socket.status.isReady)
    #expect(world.socket.status.deviceFailures == 0)
  }

  @Test("Where that counts as a failure, software goes on")
  func stalledFailure() throws {
    let world = try FailingWorld(
      startsWithFailing: true, failover: .software, stalls: StallPolicy(milliseconds: 40, isFailure: true))
    #expect(try world.traffic.run(200))
    #expect(world.traffic.reports[0].isClean && world.socket.status.failovers == 1)
    #expect(world.socket.status.failoverReason?.contains("has stalled") == true)
    try world.guest.stop()
  }

  @Test("Nobody is let at the rings beside a device that can neither be stopped nor cut off")
  func stuck() throws {
    let world = try FailingWorld(startsWithFailing: true, failover: .software)
    world.engine.fail("close")
    world.engine.reportFailure()
    #expect(Self.waits { !world.socket.status.isConnected })
    #expect(world.socket.binding == world.failing && world.socket.status.failovers == 0)
    world.engine.fail()
  }
}
