import Foundation
import FrontEndTestSupport
import Testing
import VDPA
import VhostUser
import Virtio

/// The socket in the client role: the front-end listens, and the socket comes back however often it goes.
@Suite(.timeLimit(.minutes(2)))
struct ClientRoleTests {
  @Test("It says in words that it connects, why it could not and how often it has tried, and serves whoever comes")
  func status() async throws {
    let world = try SocketWorld()
    let path = world.folder.path("front-end.sock")
    let socket = world.socket(.connect(path: path))
    #expect(socket.configuration.name == "front-end.sock")
    let recorder = ConnectionRecorder()
    socket.setDelegate(recorder)
    try socket.start()
    #expect(socket.status.role == .client && socket.status.path == path)
    try await waits {
      let reason = socket.status.notReadyReason ?? ""
      return reason.contains("connecting to \(path); tries that failed: 3, ") && reason.contains("No such file")
    }
    #expect(!socket.status.isConnected)

    let listener = try FrontEndListener(path: path)
    let frontEnd = try #require(try listener.accept())
    let guest = try Guest()
    try guest.run(with: frontEnd)
    #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3])
    #expect(socket.status.isConnected && socket.status.isReady && socket.status.notReadyReason == nil)
    #expect(recorder.connected == 1 && recorder.ends.isEmpty)
    listener.close()
    frontEnd.hangUp()
    try await waits { socket.status.notReadyReason?.contains("tries that failed") == true }
    #expect(recorder.ends.map(\.code) == [.disconnected])
    socket.stop()
    #expect(socket.status.notReadyReason == "the socket is not started")
    #expect(socket.status.role == .client)
  }

  @Test("It comes back after each end: a whole session, a refused message, half a message, nothing at all")
  func returns() async throws {
    let world = try SocketWorld()
    let listener = try FrontEndListener(path: world.folder.path("front-end.sock"))
    let socket = world.socket(.connect(path: listener.path))
    let recorder = ConnectionRecorder()
    socket.setDelegate(recorder)
    try socket.start()
    for round in 0..<20 {
      let frontEnd = try #require(try listener.accept())
      switch round % 4 {
      case 0:
        let guest = try Guest(format: round % 8 == 0 ? .split : .packed)
        try guest.run(with: frontEnd)
        #expect(try guest.exchange([UInt8(round)]) == [UInt8(round)])
      case 1:
        frontEnd.send(.getQueueNum)
        #expect(try frontEnd.isClosed())
      case 2: frontEnd.send(bytes: [1, 0, 0, 0, 1])
      default: break
      }
      frontEnd.hangUp()
    }
    try await waits { recorder.ends.count >= 20 }
    socket.stop()
    #expect(recorder.connected == recorder.ends.count)
    #expect(recorder.refused == 0)
  }

  @Test("A front-end that is started anew, with a new socket file, is found")
  func restarted() async throws {
    let world = try SocketWorld()
    let path = world.folder.path("front-end.sock")
    let socket = world.socket(.connect(path: path))
    try socket.start()
    for isKilled in [false, true, false] {
      let listener = try FrontEndListener(path: path)
      let frontEnd = try #require(try listener.accept())
      let guest = try Guest()
      try guest.run(with: frontEnd)
      #expect(try guest.exchange([1]) == [1])
      if isKilled {
        // The file stays, and is replaced by the next one.
        listener.abandon()
        frontEnd.hangUp()
        try await waits { socket.status.notReadyReason?.contains("Connection refused") == true }
        try FileManager.default.removeItem(atPath: path)
      } else {
        listener.close()
        frontEnd.hangUp()
      }
    }
    socket.stop()
  }

  @Test("Stopped in any state it is stopped, and can be started again")
  func stops() async throws {
    let world = try SocketWorld()
    let path = world.folder.path("front-end.sock")
    let socket = world.socket(.connect(path: path))
    // At once, and while it waits.
    for failures in 0..<6 {
      try socket.start()
      if failures > 0 {
        try await waits { socket.status.notReadyReason?.contains("tries that failed: \(failures), ") == true }
      }
      socket.stop()
      #expect(socket.status.notReadyReason == "the socket is not started")
    }
    // Connected, and nobody has accepted; accepted; ready.
    let listener = try FrontEndListener(path: path)
    try socket.start()
    try await waits { socket.status.isConnected }
    socket.stop()
    let abandoned = try #require(try listener.accept())
    #expect(try abandoned.isClosed())
    for isReady in [false, true] {
      try socket.start()
      let frontEnd = try #require(try listener.accept())
      if isReady { try Guest().run(with: frontEnd) }
      socket.stop()
      #expect(try frontEnd.isClosed())
    }
    #expect(try listener.accept(milliseconds: 200) == nil)
  }

  @Test("A path that no socket can have is an error of the start")
  func badPath() throws {
    let world = try SocketWorld()
    let socket = world.socket(.connect(path: world.folder.path(String(repeating: "x", count: 120))))
    let error = try #require(throws: VhostUserError.self) { try socket.start() }
    #expect(error.code == .badPath && error.description.contains("107 is the most"))
    #expect(socket.status.notReadyReason == "the socket is not started")
  }
}
