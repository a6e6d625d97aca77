import Foundation
import FrontEndTestSupport
import Testing
import VDPA
import VhostUser
import Virtio

/// Front-ends that take more than their share of a thread or of memory, on real sockets: what it costs them, and that it
/// costs nobody else anything.
@Suite(.timeLimit(.minutes(2)))
struct ConnectionBudgetTests {
  /// Two sockets on one thread; the second one has a running guest.
  private final class World {
    let base: SocketWorld
    let socket: VhostUserSocket
    let recorder = ConnectionRecorder()
    private let neighbour: VhostUserSocket
    private let frontEnd: RawFrontEnd
    private let guest: Guest

    init() throws {
      base = try SocketWorld()
      socket = try base.listening()
      socket.setDelegate(recorder)
      neighbour = try base.listening("vm1.sock")
      frontEnd = try RawFrontEnd(path: neighbour.status.path)
      guest = try Guest()
      try guest.run(with: frontEnd)
    }

    deinit {
      socket.stop()
      neighbour.stop()
    }

    func connect() throws -> RawFrontEnd { try RawFrontEnd(path: socket.status.path) }

    /// Messages and packets of the other socket are served as ever.
    func checkNeighbour() throws {
      _ = try frontEnd.ask(.getFeatures)
      #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3])
    }

    /// The session has ended for its budget, and the next front-end is served.
    func checkEnd(_ count: Int = 1) async throws {
      try await waits { recorder.ends.count == count }
      #expect(recorder.ends.last?.code == .budget)
      #expect(recorder.ends.last?.description.contains("leaves its answers unread") == true)
      try behaveWell(at: socket.status.path)
      try checkNeighbour()
    }
  }

  /// More than the socket's own buffer and the budget hold, at 20 bytes an answer.
  private static let enough = 200_000

  @Test("A front-end that never reads its answers is disconnected when they exceed its budget; the others go on")
  func neverReads() async throws {
    let world = try World()
    let frontEnd = try world.connect()
    var sent = 0
    while sent < Self.enough, world.recorder.ends.isEmpty {
      for _ in 0..<100 { frontEnd.send(.getFeatures) }
      sent += 100
      if sent % 1000 == 0 { try world.checkNeighbour() }
    }
    #expect(sent < Self.enough)
    try await world.checkEnd()
  }

  @Test("One that asks faster than it reads gets its answers in order until then")
  func readsSlowly() async throws {
    let world = try World()
    let frontEnd = try world.connect()
    var (sent, read) = (0, 0)
    while sent < Self.enough, world.recorder.ends.isEmpty {
      for _ in 0..<50 {
        frontEnd.send(.getFeatures)
        frontEnd.send(.getProtocolFeatures)
      }
      sent += 100
      for request in [FrontendRequest.getFeatures, .getProtocolFeatures] {
        guard let answer = try? frontEnd.answer() else { break }
        #expect(answer.request == request.rawValue)
        read += 1
      }
      if sent % 1000 == 0 { try world.checkNeighbour() }
    }
    #expect(sent < Self.enough && read > 0)
    try await world.checkEnd()
  }

  @Test("One that leaves a single answer unread, or reads late, loses nothing")
  func readsLate() async throws {
    let world = try World()
    let frontEnd = try world.connect()
    // Fewer than the budget and the socket's buffer hold.
    let count = 1000
    for _ in 0..<count { frontEnd.send(.getFeatures) }
    try world.checkNeighbour()
    for _ in 0..<count { #expect(try frontEnd.answer()?.request == FrontendRequest.getFeatures.rawValue) }
    _ = try frontEnd.ask(.getProtocolFeatures)
    #expect(world.recorder.ends.isEmpty)
  }

  @Test("One that sends without a pause what needs no answer is served, and so are the others meanwhile")
  func floods() async throws {
    let world = try World()
    let path = world.socket.status.path
    let flood = Thread {
      guard let frontEnd = try? RawFrontEnd(path: path) else { return }
      let message = MessageHeader(request: FrontendRequest.setVringBase.rawValue, size: 8).encoded + bytes(0)
      let many = [[UInt8]](repeating: message, count: 1000).flatMap(\.self)
      while !Thread.current.isCancelled { frontEnd.send(bytes: many) }
    }
    flood.start()
    try await waits { world.recorder.connected == 1 }
    for _ in 0..<200 { try world.checkNeighbour() }
    #expect(world.recorder.ends.isEmpty)
    flood.cancel()
    try await waits { world.recorder.ends.map(\.code) == [.disconnected] }
    try behaveWell(at: path)
  }
}
