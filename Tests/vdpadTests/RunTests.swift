import Control
import Foundation
import FrontEndTestSupport
import Glibc
import Peers
import Testing

/// `vdpad run` as a process: how it starts, whom it lets in, how it ends.
@Suite(.serialized)
struct RunTests {
  @Test("SIGTERM and SIGINT end it with 0, and its files go with it", arguments: [SIGTERM, SIGINT])
  func signals(signal: Int32) async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      try daemon.does("engine", "add", "--driver", "simulator", "--address", "virtual")
      let guests = [try Guest(), try Guest()]
      var frontEnds: [RawFrontEnd] = []
      for (i, device) in [[], ["--engine", "0", "--device", "0"]].enumerated() {
        let path = daemon.file("vm\(i)")
        _ = try daemon.client().call(
          {
            var add = SocketMethod.Add(name: "vm\(i)", path: path)
            if !device.isEmpty { (add.engine, add.device) = (0, 0) }
            return add
          }())
        let frontEnd = try RawFrontEnd(path: path)
        try guests[i].run(with: frontEnd)
        #expect(try guests[i].exchange([1, 2, 3]) == [1, 2, 3])
        frontEnds.append(frontEnd)
      }
      let idle = try daemon.client()
      daemon.process.signal(signal)
      // The contract says a second; this machine may be busy.
      #expect(try daemon.process.waitForExit(timeout: .seconds(5)) == .exited(0))
      for frontEnd in frontEnds { #expect(try frontEnd.isClosed()) }
      #expect(throws: ControlError.self) { try idle.receive() }
      for path in [daemon.control, daemon.file("vm0"), daemon.file("vm1")] {
        #expect(!FileManager.default.fileExists(atPath: path))
      }
      // Every error of its end would be told.
      #expect(!daemon.process.output().contains("error"))
    }
  }

  @Test("A second daemon on the same control socket is refused, and the first goes on")
  func second() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      let (status, output) = try Daemon.run(["run", "--control", daemon.control])
      #expect(status == .exited(1))
      #expect(output.contains("another process listens at \(daemon.control)"), "\(output)")
      #expect(try daemon.does("engine", "list").contains("software"))
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("The control socket of a daemon that was killed is replaced; a file that is no socket stays")
  func stale() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      daemon.process.signal(SIGKILL)
      try daemon.process.waitForExit(timeout: .seconds(5))
      #expect(FileManager.default.fileExists(atPath: daemon.control))
      let (status, output) = try daemon.vdpactl("engine", "list")
      #expect(status == .exited(3) && output.contains("no daemon listens at \(daemon.control)"), "\(output)")
      let next = try Daemon.start(["run", "--control", daemon.control])
      try next.waitForText("listening at")
      #expect(try daemon.does("engine", "list").contains("software"))
      #expect(next.terminate() == .exited(0))

      try Data("keep".utf8).write(to: URL(fileURLWithPath: daemon.control))
      let (refused, why) = try Daemon.run(["run", "--control", daemon.control])
      #expect(refused == .exited(1) && why.contains("is not a socket; it stays"), "\(why)")
      #expect(try String(contentsOfFile: daemon.control, encoding: .utf8) == "keep")
    }
  }

  @Test("The control socket is for its owner and its group")
  func mode() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      var info = stat()
      let found = unsafe lstat(daemon.control, &info)
      try #require(found == 0)
      #expect(info.st_mode & 0o7777 == 0o660)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "Whoever is neither the superuser, nor its user, nor in the file's group is refused, even if the file lets him in",
    .enabled(if: getuid() == 0, "only root can be somebody else"))
  func permission() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      // Nobody has to be able to read the program: the folders above may be closed to others.
      let program = daemon.file("vdpactl")
      try FileManager.default.copyItem(atPath: PeerProcess.builtProgram("vdpactl"), toPath: program)
      let folder = String(daemon.control.dropLast("/control".count))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: folder)
      func list(_ groups: String) throws -> (status: Peers.ExitStatus, output: String) {
        try ControlledDaemon.run(
          PeerProcess(
            "setpriv",
            ["--reuid=65534", "--regid=65534", groups, program, "--control", daemon.control, "engine", "list"],
            hint: "package util-linux installs it"))
      }
      let (none, why) = try list("--clear-groups")
      #expect(none == .exited(3) && why.contains("may not be used; be root"), "\(why)")
      // Another group than the peer's main one.
      try #require(unsafe chown(daemon.control, 0, 4711) == 0)
      let (member, output) = try list("--groups=4711")
      #expect(member == .exited(0) && output.contains("software"), "\(output)")
      try #require(unsafe chmod(daemon.control, 0o666) == 0)
      let (open, refusal) = try list("--clear-groups")
      #expect(open == .exited(3) && refusal.contains("uid 65534 may not use this socket"), "\(refusal)")
      try daemon.process.waitForText("the control socket was refused to pid")
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("What was changed is logged with who has done it")
  func log() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      try daemon.does("socket", "add", "vm0", "--path", daemon.file("vm0"))
      try daemon.process.waitForText("uid \(getuid()): socket.add {\"name\":\"vm0\"")
      _ = try daemon.vdpactl("socket", "remove", "vm1")
      try daemon.process.waitForText("socket.remove {\"name\":\"vm1\"} failed: there is no socket \"vm1\"")
    }
  }

  @Test("Options that make no sense are errors by name")
  func options() async throws {
    try await blocking {
      for (options, status, text) in [
        (["--log-level", "loud"], 64, "--log-level is one of"), (["--control", ""], 1, "empty"),
        (["--control", "/nowhere/control"], 1, "no socket can be made at /nowhere/control"),
        (["--fd", "1"], 64, "--fd"),
      ] as [([String], Int32, String)] {
        let (found, output) = try Daemon.run(["run"] + options)
        #expect(found == .exited(status) && output.contains(text), "\(output)")
      }
    }
  }
}
