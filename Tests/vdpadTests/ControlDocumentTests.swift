import Control
import Foundation
import Peers
import Testing

/// What the documents say about controlling the daemon.
@Suite(.serialized)
struct ControlDocumentTests {
  private static func document(_ path: String) throws -> [Substring] {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return try String(contentsOf: root.appending(path: path), encoding: .utf8).split(separator: "\n")
  }

  @Test("The commands of README.md work as they are written")
  func readme() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      let lines = try Self.document("README.md").filter { $0.hasPrefix("vdpactl ") }
      #expect(lines.count >= 8)
      for line in lines {
        // Without the comment; sockets are made in the test's own folder.
        let words = line.prefix { $0 != "#" }.split(separator: " ").dropFirst().map {
          $0.replacingOccurrences(of: "/run/", with: daemon.file(""))
        }
        let (status, output) = try ControlledDaemon.run(
          PeerProcess(PeerProcess.builtProgram("vdpactl"), ["--control", daemon.control] + words))
        #expect(status == .exited(0), "\(line): \(output)")
      }
      // They leave nothing behind.
      #expect(try daemon.client().call(SocketMethod.List()).isEmpty)
      #expect(try daemon.client().call(EngineMethod.List()).count == 1)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("docs/control.md has every method with its parameters")
  func methods() async throws {
    try await blocking {
      let rows = try Self.document("docs/control.md").drop { $0 != "### Methods" }
      let daemon = try ControlledDaemon()
      for method in try daemon.client().call(DescribeMethod()) {
        let change = method.change ? " (change)" : ""
        let row = rows.first { $0.hasPrefix("| `\(method.name)`\(change) |") }
        for parameter in method.parameters {
          #expect(row?.contains("`\(parameter.name)`") == true, "\(method.name) \(parameter.name)")
        }
        #expect(row != nil, "\(method.name)")
      }
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("The request and the answer in docs/control.md are what goes over the socket")
  func example() async throws {
    try await blocking {
      let lines = try Self.document("docs/control.md").filter { $0.hasPrefix("{") }
      try #require(lines.count == 2)
      let daemon = try ControlledDaemon()
      let client = try daemon.client()
      try client.send(Array((lines[0] + "\n").utf8))
      #expect(String(decoding: try client.receive(), as: UTF8.self) == lines[1])
      #expect(try daemon.end() == .exited(0))
    }
  }
}
