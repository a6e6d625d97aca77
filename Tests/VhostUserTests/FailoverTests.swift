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
    func socket(_ socket: VhostUserSocket, event: SocketEvent) {
      switch event {
      case .failedOver(let old, let new, let reason):
        // Who is told finds it so.
        failovers.withLock { $0.append("\(old) \(new) \(socket.binding) \(reason)") }
      case .vringBroken(let index, _): broken.withLock { $0.append(index) }
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
