import Foundation
import FrontEndTestSupport
import Glibc
import Peers
import Testing
import VDPA
import VhostUser
import Virtio

/// `vdpad serve --client` as a process: the front-end listens, and the daemon finds it.
@Suite(.serialized)
struct ClientServeTests {
  /// A daemon that connects to a socket in a folder of its own.
  private final class Client {
    let scratch: ScratchDirectory
    let path: String
    let process: PeerProcess

    init(_ options: String...) throws {
      scratch = try ScratchDirectory("vdpad")
      path = scratch.file("sock")
      process = try Daemon.start(["serve", "--client", "--socket-path", path] + options)
      try process.waitForText("connecting to \(path)")
    }
  }

  @Test("It serves a front-end that is there before it, and one that comes later")
  func both() async throws {
    try await blocking {
      let client = try Client()
      try client.process.waitForText("no connection to \(client.path) for now; it is tried again and again")
      for format in [RingLayout.Format.split, .packed] {
        let listener = try FrontEndListener(path: client.path)
        let frontEnd = try #require(try listener.accept())
        let guest = try Guest(format: format)
        try guest.run(with: frontEnd)
        #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3])
        listener.close()
        frontEnd.hangUp()
      }
      #expect(client.process.exitStatus == nil)
      #expect(client.process.terminate() == .exited(0))
    }
  }

  @Test("A front-end that is away is logged once, however often it is tried, and the counters say how often")
  func loggedOnce() async throws {
    try await blocking {
      let client = try Client("--stats", "1")
      _ = try client.process.waitForMatch(
        of: #/not ready: connecting to .*; tries that failed: ([6-9]|1\d), the last one: No such file or directory/#)
      let lines = client.process.output().split(separator: "\n").count { $0.contains("it is tried again and again") }
      #expect(lines == 1)
      #expect(client.process.terminate() == .exited(0))
    }
  }

  @Test(
    "SIGTERM and SIGINT end it with 0 at once, whether it waits for the front-end, is connected or serves it",
    arguments: [SIGTERM, SIGINT])
  func signals(signal: Int32) async throws {
    try await blocking {
      let waiting = try Client()
      // Past the short waits.
      Thread.sleep(forTimeInterval: 0.7)
      waiting.process.signal(signal)
      // The contract says a second; this machine may be busy.
      #expect(try waiting.process.waitForExit(timeout: .seconds(5)) == .exited(0))
      for isServed in [false, true] {
        let client = try Client()
        let listener = try FrontEndListener(path: client.path)
        let frontEnd = try #require(try listener.accept())
        if isServed {
          let guest = try Guest()
          try guest.run(with: frontEnd)
          #expect(try guest.exchange([1]) == [1])
        }
        client.process.signal(signal)
        #expect(try client.process.waitForExit(timeout: .seconds(5)) == .exited(0))
        #expect(try frontEnd.isClosed())
        // The socket is the front-end's.
        #expect(FileManager.default.fileExists(atPath: client.path))
      }
    }
  }

  @Test("It does not end when the front-end goes, and nothing of any session stays")
  func settles() async throws {
    try await blocking {
      let scratch = try ScratchDirectory("vdpad")
      let listener = try FrontEndListener(path: scratch.file("sock"))
      let process = try Daemon.start(["serve", "--client", "--socket-path", listener.path])
      var first: Holdings?
      for _ in 0..<50 {
        let frontEnd = try #require(try listener.accept())
        if let first {
          #expect(Holdings.settled(of: process, to: first) == first)
        } else {
          first = try Holdings.settled(of: process)
        }
        try Guest().run(with: frontEnd)
        frontEnd.hangUp()
      }
      #expect(process.terminate() == .exited(0))
    }
  }
}
