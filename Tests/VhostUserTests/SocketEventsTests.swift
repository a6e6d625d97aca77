import FrontEndTestSupport
import Synchronization
import Testing
import VDPA
import VhostUser
import Virtio

/// What a socket tells while it runs.
struct SocketEventsTests {
  /// An event without what it carries.
  private static func name(_ event: SocketEvent) -> String {
    switch event {
    case .connected: "connected"
    case .connectionRefused: "connectionRefused"
    case .refused: "refused"
    case .featuresNegotiated: "features"
    case .memoryChanged(let regions): "memory \(regions)"
    case .vring(let index, let isStarted, let isEnabled): "vring \(index) \(isStarted) \(isEnabled)"
    case .ready: "ready"
    case .notReady: "notReady"
    case .vringBroken(let index, _): "broken \(index)"
    case .requestsFail(let index, _): "requests fail \(index)"
    case .switched(let old, let new): "switched from \(old) to \(new)"
    case .stalled(let index, let time): "stalled \(index) \(time)"
    case .requestsRepeated(let index, let count): "repeated \(index) \(count)"
    case .failedOver(let old, let new, _): "failed over from \(old) to \(new)"
    case .deviceFailed: "failed"
    case .disconnected: "disconnected"
    }
  }

  /// What is told. A device that cannot stop single rings is closed with the first one, another with the last.
  private static func life(closesWithFirst: Bool) -> [String] {
    [
      "connected", "features", "memory 1", "vring 0 true false", "vring 0 true true", "vring 1 true false",
      "vring 1 true true", "ready", "broken 1", "refused",
    ] + (closesWithFirst ? ["notReady", "vring 1 false true"] : ["vring 1 false true", "notReady"])
      + ["vring 0 false true", "disconnected"]
  }

  private final class Recorder: VhostUserSocketDelegate {
    let names = Mutex<[String]>([])
    func socket(_ socket: VhostUserSocket, event: SocketEvent) {
      // Not under a lock: the socket may be asked.
      _ = (socket.status, socket.statistics, socket.binding)
      names.withLock { $0.append(SocketEventsTests.name(event)) }
    }
  }

  @Test("A whole life is told in order, to a delegate and to every sequence", arguments: [false, true])
  func events(isBound: Bool) async throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    if isBound { try socket.bind(world.device(0)) }
    try socket.setQueueCount(1)
    let recorder = Recorder()
    socket.setDelegate(recorder)
    let streams = [socket.eventStream, socket.eventStream]
    try socket.start()

    let guest = try Guest()
    let frontEnd = try RawFrontEnd(path: socket.status.path)
    try guest.run(with: frontEnd)
    #expect(try guest.exchange([1]) == [1])
    // A packet is looked for only when there is a buffer to give it back in.
    try guest.postEmpty(guest.rings[0])
    guest.rings[1].corrupt()
    EventFD.signal(guest.rings[1].kick)
    try await waits { recorder.names.withLock { $0.contains("broken 1") } }
    #expect(try !frontEnd.tell(.setVringNum, VringStatePayload(index: 9, number: 64).encoded))
    _ = try frontEnd.stop(1)
    _ = try frontEnd.stop(0)
    frontEnd.hangUp()
    try await waits { recorder.names.withLock { $0.contains("disconnected") } }

    let told = recorder.names.withLock { $0 }
    #expect(told == Self.life(closesWithFirst: isBound), "\(told)")
    for stream in streams {
      var names: [String] = []
      for await event in stream {
        names.append(Self.name(event))
        if case .disconnected = event { break }
      }
      #expect(names == told)
    }
    socket.setDelegate(nil)
    _ = try RawFrontEnd(path: socket.status.path)
    socket.stop()
    #expect(recorder.names.withLock { $0 } == told)
  }

  @Test("A second front-end is turned away, and that is told")
  func second() async throws {
    let world = try TwoEngineWorld()
    let socket = world.socket()
    let stream = socket.eventStream
    try socket.start()
    let first = try RawFrontEnd(path: socket.status.path)
    _ = try first.ask(.getFeatures)
    let second = try RawFrontEnd(path: socket.status.path)
    #expect(try second.isClosed())
    _ = try first.ask(.getFeatures)
    for await event in stream {
      guard case .connectionRefused(let error) = event else { continue }
      #expect(error.socket == "vm0.sock" && error.description.contains("connected already"))
      break
    }
    socket.stop()
    #expect(try first.isClosed())
  }
}
