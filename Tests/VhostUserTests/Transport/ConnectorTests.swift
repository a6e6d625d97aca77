import Foundation
import FrontEndTestSupport
import Synchronization
import SystemPackage
import Testing
import VDPA
import VhostUser

@Suite(.timeLimit(.minutes(2)))
struct ConnectorTests {
  private let folder = TemporaryFolder()
  private var path: String { folder.path("s.sock") }

  /// A started connector and what comes of it.
  private final class World: Sendable {
    let loop: EventLoop
    let connector: Connector
    let connections = Mutex<[OwnedFD]>([])
    let errors = Mutex<[VhostUserError]>([])
    let changes = Atomic<Int>(0)

    init(_ path: String) async throws {
      let loop = try EventLoop(name: "test")
      self.loop = loop
      connector = try Connector(path: path, on: loop)
      await loop.perform { [self] in
        try? connector.start { connection in
          self.connections.withLock { $0.append(connection) }
        } onError: { error in
          self.errors.withLock { $0.append(error) }
        } onChange: {
          self.changes.wrappingAdd(1, ordering: .relaxed)
        }
      }
    }

    var count: Int { connections.withLock { $0.count } }
    var failures: Int { changes.load(ordering: .relaxed) }
    func waitingFor() async -> String { await loop.perform { [connector] in connector.waitingFor } }

    func finish() async {
      await loop.perform { [connector] in connector.stop() }
      loop.stop()
    }
  }

  @Test("It connects at once, and makes no second connection while the first lasts")
  func connects() async throws {
    let listener = try FrontEndListener(path: path)
    let world = try await World(path)
    try await waits { world.count == 1 }
    #expect(try listener.accept() != nil)
    #expect(try listener.accept(milliseconds: 200) == nil)
    #expect(world.errors.withLock { $0.isEmpty } && world.failures == 0)
    await world.finish()
  }

  @Test("Nobody there, a file that nobody listens on and one that is no socket are tried again, and told once")
  func later() async throws {
    let world = try await World(path)
    func fails(with errno: Errno) async throws {
      let deadline = ContinuousClock.now + .seconds(10)
      while true {
        let text = await world.waitingFor()
        if text.hasPrefix("connecting to \(path); tries that failed: ") && text.hasSuffix("\(errno)") { return }
        try #require(ContinuousClock.now < deadline, "\(text)")
        try await Task.sleep(for: .milliseconds(2))
      }
    }
    #expect(await world.waitingFor().hasPrefix("connecting to \(path)"))
    try await fails(with: .noSuchFileOrDirectory)
    try FrontEndListener(path: path).abandon()
    try await fails(with: .connectionRefused)
    try FileManager.default.removeItem(atPath: path)
    try Data().write(to: URL(fileURLWithPath: path))
    try await fails(with: .connectionRefused)
    try FileManager.default.removeItem(atPath: path)
    let listener = try FrontEndListener(path: path)
    #expect(try listener.accept() != nil)
    try await waits { world.count == 1 }
    #expect(await world.waitingFor() == "connecting to \(path)")
    #expect(world.errors.withLock { $0.map(\.code) } == [.unreachable])
    #expect(world.errors.withLock { $0.first?.errno } == .noSuchFileOrDirectory)
    await world.finish()
  }

  @Test("A front-end whose queue of clients is full is not waited for: the loop goes on, and it is tried again")
  func fullQueue() async throws {
    let listener = try FrontEndListener(path: path)
    var clients: [OwnedFD] = []
    while case let client = try StreamSocket.make(), (try? StreamSocket.connect(client, to: path)) != nil {
      clients.append(client)
    }
    let world = try await World(path)
    try await waits { world.failures >= 2 }
    #expect(await world.waitingFor().hasSuffix("\(Errno.wouldBlock)"))
    #expect(world.count == 0)
    for _ in clients { #expect(try listener.accept() != nil) }
    #expect(try listener.accept() != nil)
    try await waits { world.count == 1 }
    await world.finish()
  }

  @Test("After each connection there is the next, whether it came to something or not")
  func reconnects() async throws {
    let listener = try FrontEndListener(path: path)
    let world = try await World(path)
    for wasReady in [true, true, false, false, false] {
      #expect(try listener.accept() != nil)
      let before = world.count
      await world.loop.perform { world.connector.connectionEnded(wasReady: wasReady) }
      try await waits { world.count > before }
    }
    await world.finish()
  }

  @Test("Stopped while it waits it tries no more and is let go of at once")
  func stops() async throws {
    var world: World? = try await World(path)
    try await waits { world?.failures ?? 0 >= 3 }
    let loop = try #require(world?.loop)
    weak let connector = world?.connector
    await loop.perform { connector?.stop() }
    world = nil
    #expect(connector == nil)
    let listener = try FrontEndListener(path: path)
    #expect(try listener.accept(milliseconds: 300) == nil)
    loop.stop()
  }

  @Test(
    "A path that no socket can have is an error at once", arguments: ["", String(repeating: "x", count: 108), "a\0b"])
  func badPath(path: String) throws {
    let loop = try EventLoop(name: "test")
    let error = #expect(throws: VhostUserError.self) { try Connector(path: path, on: loop) }
    #expect(error?.code == .badPath)
    loop.stop()
  }
}
