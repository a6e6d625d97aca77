import FrontEndTestSupport
import Testing
import VDPA
import VhostUser
import Virtio

/// Front-ends that come and go faster than the device is done with the last one.
@Suite(.timeLimit(.minutes(2)))
struct ReconnectStormTests {
  /// A socket bound to a device whose end can be held up.
  private final class World {
    let base: SocketWorld
    let engine = FailingEngine()
    let socket: VhostUserSocket
    let recorder = ConnectionRecorder()

    init() throws {
      base = try SocketWorld()
      try base.registry.register(engine)
      let handle = try base.registry.addEngine(driver: "failing", at: EngineAddress("nowhere"))
      socket = base.socket(.listen(path: base.folder.path("vm0.sock")))
      try socket.bind(DeviceHandle(engine: handle, device: 0))
      socket.setDelegate(recorder)
      try socket.start()
    }

    deinit {
      engine.hold()
      socket.stop()
    }

    var path: String { socket.status.path }

    func connect() throws -> RawFrontEnd { try RawFrontEnd(path: path) }

    /// Front-ends that leave at once, some in the middle of a message.
    func storm(_ count: Int) throws {
      for i in 0..<count {
        let passing = try connect()
        switch i % 4 {
        case 0: break
        case 1: passing.send(bytes: [1, 0, 0])
        case 2: passing.send(bytes: MessageHeader(request: 5, size: 40).encoded + [1, 2, 3])
        default: passing.send(.getFeatures)
        }
        passing.hangUp()
      }
    }
  }

  @Test("While the last session still drains, those who leave again have no part in it and the one who stays is served")
  func draining() async throws {
    let world = try World()
    let first = try RawFrontEnd(path: world.path)
    try Guest().run(with: first)
    #expect(world.socket.status.isReady)
    for round in 1...3 {
      world.engine.hold("close")
      if round == 1 { first.hangUp() }
      try world.storm(200)
      let staying = try world.connect()
      // Whoever comes after one who stays is turned away at once.
      staying.send(.getFeatures)
      try await waits {
        guard let late = try? RawFrontEnd(path: world.path) else { return false }
        return (try? late.isClosed()) == true
      }
      #expect(world.recorder.ends.count == round - 1)
      world.engine.hold()
      #expect(try staying.answer() != nil)
      try Guest().run(with: staying)
      #expect(world.socket.status.isReady)
      #expect(world.recorder.ends.count == round)
      #expect(world.recorder.connected == round + 1)
      world.engine.hold("close")
      staying.hangUp()
    }
  }

  @Test("With nobody there each of them is a session of its own that ends, and the next one is served")
  func idle() async throws {
    let world = try World()
    for _ in 0..<3 {
      try world.storm(200)
      let staying = try world.connect()
      try Guest().run(with: staying)
      #expect(world.socket.status.isReady)
      staying.hangUp()
    }
    try await waits { world.recorder.connected == world.recorder.ends.count }
  }

  @Test("A front-end that is served is not disturbed: all others are turned away")
  func served() async throws {
    let world = try World()
    let frontEnd = try RawFrontEnd(path: world.path)
    try Guest().run(with: frontEnd)
    try world.storm(200)
    try await waits { world.recorder.refused == 200 }
    _ = try frontEnd.ask(.getStatus)
    #expect(world.recorder.connected == 1 && world.recorder.ends.isEmpty)
  }

  @Test("Stopped while the last session drains and others wait, it ends all of them")
  func stopped() async throws {
    let world = try World()
    for _ in 0..<10 {
      let first = try world.connect()
      try Guest().run(with: first)
      world.engine.hold("close")
      first.hangUp()
      try world.storm(10)
      let waiting = try world.connect()
      let stopping = Task.detached { [socket = world.socket] in socket.stop() }
      #expect(try waiting.isClosed())
      world.engine.hold()
      await stopping.value
      try world.socket.start()
    }
  }
}
