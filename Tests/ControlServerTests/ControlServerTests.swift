import Control
import Foundation
import Glibc
import Peers
import Synchronization
import Testing

@testable import ControlServer

/// A control socket and its clients, good and bad.
@Suite(.serialized)
struct ControlServerTests {
  private static let request =
    #"{"jsonrpc":"2.0","method":"subtract","params":{"minuend":3,"subtrahend":1},"id":1}"# + "\n"
  private static let change = #"{"jsonrpc":"2.0","method":"change","id":1}"# + "\n"

  @Test("A client has many answers over one connection, also of what it sends in pieces and between empty lines")
  func answers() async throws {
    try await blocking {
      let server = try RunningServer()
      let client = try server.client()
      for i in 0..<100 { #expect(try client.call(Subtract(minuend: i, subtrahend: 0)) == i) }
      for byte in ("\r\n\n \t\n" + Self.request).utf8 { try client.send([byte]) }
      #expect(try RPCResponse<Int>(json: try client.receive()).result == 2)
    }
  }

  @Test("What was sent before the end has its answers")
  func halfClosed() async throws {
    try await blocking {
      let server = try RunningServer()
      let client = try server.client()
      try client.send(String(repeating: Self.request, count: 500))
      client.finish()
      for _ in 0..<500 { #expect(try RPCResponse<Int>(json: try client.receive()).result == 2) }
      #expect(throws: ControlError.self) { try client.receive() }
    }
  }

  @Test("Changes wait for each other, and what only looks waits for none")
  func changes() async throws {
    try await blocking {
      let server = try RunningServer()
      let clients = try (0..<8).map { _ in try server.client() }
      try server.board.gate.withLock { _ in
        for client in clients { try client.send(Self.change) }
        for _ in 0..<20 { #expect(try server.serves()) }
        #expect(server.board.changes.withLock { $0 } == 0)
      }
      let made = try clients.map { try RPCResponse<Int>(json: try $0.receive()).result }
      #expect(Set(made) == Set(1...8))
    }
  }

  @Test("Of a client that sends and never reads no more is taken, until it is ended; others are served")
  func flood() async throws {
    try await blocking {
      let server = try RunningServer { $0.stall = 3000 }
      let client = try ControlClient(path: server.path, patience: 1)
      // Its answer is more than the socket takes, so what comes after it is not looked at.
      try client.send(#"{"jsonrpc":"2.0","method":"fill","params":{"count":50000000},"id":1}"# + "\n")
      let bytes = Array(String(repeating: Self.change, count: 10_000).utf8)
      func refusal() -> String {
        do throws(ControlError) {
          while true { try client.send(bytes) }
        } catch {
          return "\(error)"
        }
      }
      #expect(refusal().contains("takes no request for 1 seconds"))
      #expect(try server.serves())
      while refusal().contains("for 1 seconds") {}
      #expect(server.board.changes.withLock { $0 } == 0)
      #expect(try server.serves())
    }
  }

  @Test("A large answer comes whole")
  func large() async throws {
    try await blocking {
      let server = try RunningServer()
      #expect(try server.client().call(Fill(count: 20_000_000)).utf8.count == 20_000_000)
    }
  }

  @Test("A client that stalls within a line is ended, one that is idle is not, and others are served meanwhile")
  func stall() async throws {
    try await blocking {
      let server = try RunningServer { $0.stall = 300 }
      let idle = try server.client()
      let client = try server.client()
      try client.send(String(Self.request.dropLast(5)))
      #expect(try server.serves())
      #expect(client.isClosed())
      #expect(try idle.call(Subtract(minuend: 2, subtrahend: 2)) == 0)
    }
  }

  @Test("A line that is too long is an error and the end, also before its end has come")
  func tooLong() async throws {
    try await blocking {
      let server = try RunningServer { $0.line = 1000 }
      for end in ["", "\n", "\n" + Self.request] {
        let client = try server.client()
        try client.send(String(repeating: " ", count: 999) + "1" + end)
        if !end.isEmpty {
          // As long as can be.
          #expect(try client.error()?.code == -32600)
          if end.utf8.count > 1 { #expect(try client.error() == nil) }
        }
        try client.send(String(repeating: "x", count: 1001) + end)
        let error = try client.error()
        #expect(error?.code == -32600 && error?.message.contains("1000 bytes") == true)
        #expect(client.isClosed())
      }
      #expect(try server.serves())
    }
  }

  @Test("A client that goes in the middle of a request, or before its answer, hurts nobody")
  func disconnect() async throws {
    try await blocking {
      let server = try RunningServer()
      for _ in 0..<200 {
        try server.client().send(String(Self.request.prefix(30)))
        try server.client().send(Self.request)
        _ = try server.client()
      }
      try server.board.gate.withLock { _ in try server.client().send(Self.change) }
      #expect(try server.serves())
      // What it asked for comes about all the same.
      #expect(try server.client().call(Change()) == 2)
    }
  }

  @Test("One connection more than there may be takes the place of the one that has been idle for longest")
  func connections() async throws {
    try await blocking {
      let server = try RunningServer { $0.connections = 3 }
      let clients = try (0..<3).map { _ in try server.client() }
      for client in [clients[1], clients[0], clients[2]] {
        #expect(try client.call(Subtract(minuend: 1, subtrahend: 1)) == 0)
      }
      let fourth = try server.client()
      for client in [fourth, clients[0], clients[2]] {
        #expect(try client.call(Subtract(minuend: 1, subtrahend: 1)) == 0)
      }
      #expect(clients[1].isClosed())
    }
  }

  @Test("One connection more than there may be is refused when none is idle")
  func busyConnections() async throws {
    try await blocking {
      let server = try RunningServer { $0.connections = 1 }
      let client = try server.client()
      try server.board.gate.withLock { _ in
        try client.send(Self.change)
        while server.board.begun.withLock({ $0 }) == 0 { Thread.sleep(forTimeInterval: 0.001) }
        let more = try server.client()
        #expect(try more.error()?.data?.code == "tooManyConnections")
        #expect(more.isClosed())
      }
      #expect(try RPCResponse<Int>(json: try client.receive()).result == 1)
      #expect(try server.serves())
    }
  }

  @Test("Nonsense of every kind is answered, and the next request is too")
  func nonsense() async throws {
    try await blocking {
      let server = try RunningServer()
      let client = try server.client()
      for text in ["{", "[", "\"", "\u{0}\u{1}", "{\"a\":", "nul", "1 2"] {
        try client.send(text + "\n")
        #expect(try client.error()?.code == -32700, "\(text.prefix(10))")
      }
      try client.send(String(repeating: "[", count: 100_000) + "\n")
      #expect(try client.error()?.code == -32600)
      try client.send([0xff, 0xfe, 10])
      #expect(try client.error()?.code == -32700)
      try client.send(Self.request)
      #expect(try RPCResponse<Int>(json: try client.receive()).result == 2)
    }
  }

  @Test("When the server ends, the change that is being made is finished, and everybody is told by the end")
  func stop() async throws {
    try await blocking {
      let server = try RunningServer()
      let clients = try (0..<3).map { _ in try server.client() }
      let stopping = Thread { server.stop() }
      try server.board.gate.withLock { _ in
        try clients[0].send(Self.change)
        // It has begun, or stands in line, when this is answered.
        #expect(try server.serves())
        stopping.start()
        #expect(clients[1].isClosed() && clients[2].isClosed())
      }
      #expect(clients[0].isClosed())
      while !stopping.isFinished { Thread.sleep(forTimeInterval: 0.01) }
      #expect(throws: ControlError.self) { try server.client() }
    }
  }

  @Test("Who may: the superuser, the own user, the file's owner, and its group, each only if the mode says so")
  func access() throws {
    let scratch = try ScratchDirectory("control")
    let path = scratch.file("sock")
    try Data().write(to: URL(fileURLWithPath: path))
    let rule = AccessRule(path: path)
    func may(_ user: UInt32, _ groups: [UInt32]) -> Bool {
      rule.admits(Peer(pid: 1, user: user, groups: groups))
    }
    var info = stat()
    let found = unsafe lstat(path, &info)
    try #require(found == 0)
    for mode in [0o660, 0o600, 0o666] as [mode_t] {
      try #require(unsafe chmod(path, mode) == 0)
      #expect(may(0, []) && may(geteuid(), []))
      #expect(may(4711, [4711, info.st_gid]) == (mode != 0o600))
      #expect(!may(4711, [4711]))
    }
    try FileManager.default.removeItem(atPath: path)
    #expect(!may(4711, [info.st_gid]) && may(0, []))
  }
}
