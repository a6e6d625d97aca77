import Foundation
import FrontEndTestSupport
import Glibc
import Peers
import SystemPackage
import Testing
import VDPA
import VhostUser
import Virtio

/// `vdpad serve` as a process: how it starts, what it refuses, how it ends.
@Suite(.serialized)
struct ServeTests {
  // MARK: Its end

  @Test("SIGTERM and SIGINT end it with 0 at once, and its socket goes with it", arguments: [SIGTERM, SIGINT])
  func signals(signal: Int32) async throws {
    try await blocking {
      let daemon = try Daemon()
      daemon.process.signal(signal)
      // The contract says a second; this machine may be busy.
      #expect(try daemon.process.waitForExit(timeout: .seconds(5)) == .exited(0))
      #expect(!FileManager.default.fileExists(atPath: daemon.path))
    }
  }

  @Test("It ends as well while a front-end is connected and its rings run", arguments: ["--event", "--poll"])
  func signalWhileRunning(mode: String) async throws {
    try await blocking {
      let daemon = try Daemon(mode, "--engine", "simulator")
      let guest = try Guest()
      let frontEnd = try RawFrontEnd(path: daemon.path)
      try guest.run(with: frontEnd)
      #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3])
      daemon.process.signal(SIGTERM)
      #expect(try daemon.process.waitForExit(timeout: .seconds(5)) == .exited(0))
      #expect(try frontEnd.isClosed())
    }
  }

  @Test("A file that has taken the place of its socket stays")
  func replacedFile() async throws {
    try await blocking {
      let daemon = try Daemon()
      try FileManager.default.removeItem(atPath: daemon.path)
      try Data().write(to: URL(fileURLWithPath: daemon.path))
      #expect(try daemon.end() == .exited(0))
      #expect(FileManager.default.fileExists(atPath: daemon.path))
    }
  }

  // MARK: Its socket

  @Test("The socket of a process that has gone is replaced")
  func stale() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let path = scratch.file("sock")
      let first = try Daemon.start(["serve", "--socket-path", path])
      try ListeningSocket.wait(at: path, by: first)
      first.signal(SIGKILL)
      try first.waitForExit(timeout: .seconds(5))
      #expect(FileManager.default.fileExists(atPath: path))
      let second = try Daemon.start(["serve", "--socket-path", path])
      try ListeningSocket.wait(at: path, by: second)
      try behaveWell(at: path)
      #expect(second.terminate() == .exited(0))
    }
  }

  @Test("A path that somebody listens on is refused, and the other goes on")
  func live() async throws {
    try await blocking {
      let daemon = try Daemon()
      let (status, output) = try Daemon.run(["serve", "--socket-path", daemon.path])
      #expect(status == .exited(1))
      #expect(output.contains("another process listens at \(daemon.path)"), "\(output)")
      try behaveWell(at: daemon.path)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("A file that is no socket, a missing folder and a long path are refused by name")
  func badPaths() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      try Data("keep".utf8).write(to: URL(fileURLWithPath: scratch.file("file")))
      let long = scratch.file(String(repeating: "x", count: 120))
      for (path, message) in [
        (scratch.file("file"), "is not a socket; it stays"), (scratch.file("no/sock"), "no socket can be made at"),
        (long, "107 is the most"), ("", "empty"),
      ] {
        let (status, output) = try Daemon.run(["serve", "--socket-path", path])
        #expect(status == .exited(1))
        #expect(output.contains(message), "\(output)")
      }
      #expect(try String(contentsOfFile: scratch.file("file"), encoding: .utf8) == "keep")
    }
  }

  @Test("Mode and owner of the socket are as asked for before anybody can connect")
  func permissions() async throws {
    try await blocking {
      let daemon = try Daemon("--socket-mode", "0640", "--socket-owner", getuid() == 0 ? "65534:65533" : "\(getuid())")
      var info = stat()
      let found = unsafe lstat(daemon.path, &info)
      try #require(found == 0)
      #expect(info.st_mode & 0o777 == 0o640)
      if getuid() == 0 { #expect(info.st_uid == 65534 && info.st_gid == 65533) }
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("A second front-end is turned away while the first works on")
  func second() async throws {
    try await blocking {
      let daemon = try Daemon()
      let guest = try Guest()
      let first = try RawFrontEnd(path: daemon.path)
      try guest.run(with: first)
      #expect(try guest.exchange([1]) == [1])
      let second = try RawFrontEnd(path: daemon.path)
      #expect(try second.isClosed())
      try daemon.process.waitForText("a front-end is connected already")
      #expect(try guest.exchange([2]) == [2])
      first.hangUp()
      try behaveWell(at: daemon.path)
      #expect(try daemon.end() == .exited(0))
    }
  }

  // MARK: Inherited sockets

  @Test("With --fd of a connected socket it serves that and ends with 0 when the front-end goes")
  func connected() async throws {
    try await blocking {
      let (own, other) = try RawFrontEnd.pair()
      let process = try Daemon.start(["serve", "--fd", "0"], input: other.descriptor)
      let frontEnd = RawFrontEnd(adopting: own)
      let guest = try Guest()
      try guest.run(with: frontEnd)
      #expect(try guest.exchange([7, 8, 9]) == [7, 8, 9])
      #expect(process.exitStatus == nil)
      frontEnd.hangUp()
      #expect(try process.waitForExit(timeout: .seconds(5)) == .exited(0))
    }
  }

  @Test("SIGTERM ends it with 0 as well while it serves an inherited socket, connected or listening")
  func inheritedAndEnded() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let listening = try StreamSocket.make()
      try StreamSocket.bind(listening, to: scratch.file("sock"))
      try StreamSocket.listen(listening)
      let (own, other) = try RawFrontEnd.pair()
      for (descriptor, connect) in [
        (listening, { try RawFrontEnd(path: scratch.file("sock")) }), (other, { RawFrontEnd(adopting: own) }),
      ] as [(OwnedFD, () throws -> RawFrontEnd)] {
        let process = try Daemon.start(["serve", "--fd", "0"], input: descriptor.descriptor)
        let frontEnd = try connect()
        let guest = try Guest()
        try guest.run(with: frontEnd)
        #expect(try guest.exchange([1]) == [1])
        process.signal(SIGTERM)
        #expect(try process.waitForExit(timeout: .seconds(5)) == .exited(0))
        #expect(try frontEnd.isClosed())
      }
    }
  }

  @Test("A front-end that has gone before the start ends it too")
  func connectedAndGone() async throws {
    try await blocking {
      for _ in 0..<20 {
        let (own, other) = try RawFrontEnd.pair()
        let frontEnd = RawFrontEnd(adopting: own)
        // Half a message is left behind.
        frontEnd.send(bytes: [1, 0, 0])
        frontEnd.hangUp()
        let process = try Daemon.start(["serve", "--fd", "0"], input: other.descriptor)
        #expect(try process.waitForExit(timeout: .seconds(5)) == .exited(0))
      }
    }
  }

  @Test("With --fd of a listening socket it serves one front-end after the other and leaves the file alone")
  func listening() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let path = scratch.file("sock")
      let socket = try StreamSocket.make()
      try StreamSocket.bind(socket, to: path)
      try StreamSocket.listen(socket)
      let process = try Daemon.start(["serve", "--fd", "0"], input: socket.descriptor)
      try behaveWell(at: path)
      try behaveWell(at: path)
      #expect(process.terminate() == .exited(0))
      #expect(FileManager.default.fileExists(atPath: path))
    }
  }

  @Test("A descriptor that is no socket of the right kind is refused by number")
  func badDescriptors() async throws {
    try await blocking {
      let null = OwnedFD(adopting: try FileDescriptor.open(FilePath("/dev/null"), .readWrite))
      let unconnected = try StreamSocket.make()
      for (descriptor, message) in [
        (null, "file descriptor 0 is not a Unix stream socket"),
        (unconnected, "file descriptor 0 neither listens nor is connected"),
      ] {
        let process = try Daemon.start(["serve", "--fd", "0"], input: descriptor.descriptor)
        #expect(try process.waitForExit(timeout: .seconds(5)) == .exited(1))
        try process.waitForText(message, timeout: .seconds(1))
      }
      let (status, output) = try Daemon.run(["serve", "--fd", "77"])
      #expect(status == .exited(1))
      #expect(output.contains("file descriptor 77"), "\(output)")
    }
  }
}
