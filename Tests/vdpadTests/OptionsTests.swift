import Foundation
import FrontEndTestSupport
import Glibc
import Peers
import Testing
import VDPA
import VhostUser
import Virtio

/// What `vdpad serve` is told on its command line.
@Suite(.serialized)
struct OptionsTests {
  @Test(
    "An option that cannot be followed ends it, not with 0, and with the reason; no socket is made",
    arguments: [
      ([], "give one of --socket-path and --fd"),
      (["--socket-path", "SOCK", "--fd", "3"], "give one of --socket-path and --fd"),
      (["--client"], "give one of --socket-path and --fd"),
      (["--client", "--fd", "0"], "--client needs the --socket-path to connect to"),
      (["--client", "--socket-path", "SOCK", "--socket-mode", "0600"], "--socket-mode is for a socket that is made"),
      (["--client", "--socket-path", "SOCK", "--socket-owner", "0"], "--socket-owner is for a socket that is made"),
      (["--fd", "0", "--socket-mode", "0600"], "--socket-mode is for a socket that is made"),
      (["--fd=-1"], "--fd is a descriptor's number"),
      (["--fd", "x"], "--fd"),
      (["--socket-path", "SOCK", "--type", "tape"], "--type tape: this program serves net and block devices"),
      (["--socket-path", "SOCK", "--type", "block"], "a block device needs a file: --blk-file"),
      (
        ["--socket-path", "SOCK", "--type", "block", "--blk-file", "/no/such/file"],
        "/no/such/file: it cannot be opened"
      ),
      (["--socket-path", "SOCK", "--type", "block", "--blk-file", "/dev/full"], "/dev/full: it is neither"),
      (
        ["--socket-path", "SOCK", "--type", "block", "--blk-file", "/x", "--port", "sink"], "--port is not for a block"
      ),
      (["--socket-path", "SOCK", "--type", "block", "--blk-file", "/x", "--queues", "257"], "--queues is 1 to 256"),
      (
        ["--socket-path", "SOCK", "--type", "block", "--blk-file", "/x", "--serial", "123456789012345678901"], "serial="
      ),
      (["--socket-path", "SOCK", "--type", "block", "--blk-file", "/x", "--blk-io", "fast"], "uring and threads"),
      (
        ["--socket-path", "SOCK", "--type", "block", "--blk-file", "/x", "--engine", "simulator"],
        "--blk-file is for the software datapath"
      ),
      (["--socket-path", "SOCK", "--blk-file", "/x"], "--blk-file is not for a net device"),
      (["--socket-path", "SOCK", "--read-only"], "--read-only is not for a net device"),
      (["--socket-path", "SOCK", "--queues", "0"], "--queues is 1 to 128"),
      (["--socket-path", "SOCK", "--queues", "129"], "--queues is 1 to 128"),
      (["--socket-path", "SOCK", "--device", "0"], "give --engine too"),
      (["--socket-path", "SOCK", "--port", "tape"], "there is no port \"tape\""),
      (["--socket-path", "SOCK", "--port", "tap"], "port tap: tap=NAME takes the name of a network device"),
      (["--socket-path", "SOCK", "--port", "tap=lo"], "port tap=lo: there is a device of that name which is no TAP"),
      (["--socket-path", "SOCK", "--port", "switch="], "port switch=: switch=NAME takes a name"),
      (["--socket-path", "SOCK", "--socket-path", "SOCK"], "is given twice"),
      (
        ["--socket-path", "SOCK", "--socket-path", "/tmp/other", "--engine", "simulator"],
        "a device of an --engine serves one socket"
      ),
      (["--socket-path", "SOCK", "--port", "source=1"], "60 to 9018"),
      (["--socket-path", "SOCK", "--engine", "simulator", "--port", "sink"], "--port is for the software datapath"),
      (["--socket-path", "SOCK", "--engine", "nothing"], "nothing"),
      (["--socket-path", "SOCK", "--engine", "simulator:device=2"], "has no parameter \"device\""),
      (["--socket-path", "SOCK", "--engine", "simulator:devices=2,devices=3"], "given twice"),
      (["--socket-path", "SOCK", "--engine", "simulator:devices=0"], "devices=0"),
      (["--socket-path", "SOCK", "--engine", "simulator", "--device", "1"], "1"),
      (["--socket-path", "SOCK", "--engine", "simulator:queues=2", "--queues", "3"], "3 queues (it has 2)"),
      (["--socket-path", "SOCK", "--poll", "--event"], "give one of --poll, --adaptive and --event"),
      (["--socket-path", "SOCK", "--adaptive", "--event"], "give one of --poll, --adaptive and --event"),
      (["--socket-path", "SOCK", "--poll", "--adaptive"], "give one of --poll, --adaptive and --event"),
      (["--socket-path", "SOCK", "--cpu", "a"], "--cpu a is not a list of CPUs"),
      (["--socket-path", "SOCK", "--cpu", "3-1"], "--cpu 3-1 is not a list of CPUs"),
      (["--socket-path", "SOCK", "--cpu", "0-"], "--cpu 0- is not a list of CPUs"),
      (["--socket-path", "SOCK", "--cpu", ""], "is not a list of CPUs"),
      (["--socket-path", "SOCK", "--cpu", "4095"], "CPU 4095"),
      (["--socket-path", "SOCK", "--stats", "0"], "--stats is 1 to 86400 seconds"),
      (["--socket-path", "SOCK", "--stats", "9999999"], "--stats is 1 to 86400 seconds"),
      (["--socket-path", "SOCK", "--log-level", "loud"], "--log-level is one of trace, debug"),
      (["--socket-path", "SOCK", "--socket-mode", "9"], "--socket-mode is octal"),
      (["--socket-path", "SOCK", "--socket-mode", "1777"], "--socket-mode is octal"),
      (["--socket-path", "SOCK", "--socket-owner", "no-such-user"], "there is no user no-such-user"),
      (["--socket-path", "SOCK", "--socket-owner", "0:no-such-group"], "there is no group no-such-group"),
      (["--socket-path", "SOCK", "--bogus"], "--bogus"),
    ] as [([String], String)])
  func refused(options: [String], message: String) async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let path = scratch.file("sock")
      let (status, output) = try Daemon.run(["serve"] + options.map { $0 == "SOCK" ? path : $0 })
      #expect(status != .exited(0))
      guard case .exited = status else {
        Issue.record("it \(status)")
        return
      }
      #expect(output.contains(message), "\(output)")
      #expect(!FileManager.default.fileExists(atPath: path))
    }
  }

  @Test("--print-capabilities prints JSON for QEMU's conventions and ends with 0, whatever else is given")
  func capabilities() async throws {
    try await blocking {
      let offered: [String: Set<String>] = ["net": [], "block": ["read-only", "blk-file"]]
      for (type, features) in offered {
        for more in [
          [], ["--socket-path", "/no/such/folder/sock", "--queues", "0"], ["--fd", "x", "--bogus", "--client", "more"],
        ] {
          let (status, output) = try Daemon.run(["serve", "--type", type, "--print-capabilities"] + more)
          #expect(status == .exited(0))
          let object = try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any]
          #expect(object?["type"] as? String == type)
          #expect(Set(object?["features"] as? [String] ?? ["none"]) == features)
        }
      }
    }
  }

  @Test("--print-capabilities works without privileges", .enabled(if: getuid() == 0, "only root can give them up"))
  func unprivileged() async throws {
    try await blocking {
      // Nobody has to be able to read the program: the folders above may be closed to others.
      let scratch = try ScratchDirectory()
      let program = scratch.file("vdpad")
      try FileManager.default.copyItem(atPath: PeerProcess.builtProgram("vdpad"), toPath: program)
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: scratch.path)
      let process = try PeerProcess(
        "setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", program, "serve", "--print-capabilities"],
        hint: "package util-linux installs it")
      #expect(try process.waitForExit(timeout: .seconds(10)) == .exited(0))
      try process.waitForText("{\"type\":\"net\"", timeout: .seconds(1))
    }
  }

  @Test("--stats prints each vring's counters every so often, at once and not at the end")
  func statistics() async throws {
    try await blocking {
      let daemon = try Daemon("--stats", "1", "--queues", "2")
      // One line of it: far less than a buffer holds.
      try daemon.process.waitForText(
        "software (software), not ready: no front-end is connected", timeout: .seconds(5))
      let guest = try Guest(queues: 2)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      try guest.run(with: frontEnd)
      for i in 0..<5 { #expect(try guest.exchange(Array(repeating: UInt8(i), count: 60), pair: 1).count == 60) }
      let text = try daemon.process.waitForText("(software), ready", since: daemon.process.mark)
      #expect(text.contains("sock: "))
      // Name, packets, bytes.
      _ = try daemon.process.waitForMatch(of: #/ rx1 +5 +300 /#)
      // The bytes that the payloads begin with, 0 to 4, make two of them multicasts.
      try daemon.process.waitForText("multicast_packets 2, undersize_packets 5, chain_length_1 5")
      _ = try daemon.process.waitForMatch(of: #/ tx1 +5 +300 /#)
      _ = try daemon.process.waitForMatch(of: #/ rx0 +0 +0 /#)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("An engine, a device and a port are used as asked for")
  func bindings() async throws {
    try await blocking {
      let simulated = try Daemon("--engine", "simulator:devices=3,queues=2", "--device", "2", "--queues", "2")
      try behaveWell(at: simulated.path, queues: 2)
      try simulated.process.waitForText("engine 0 device 2 (simulator), 2 queues")
      #expect(try simulated.end() == .exited(0))

      let software = try Daemon("--cpu", "\(PeerCPU.backEnd)", "--log-level", "debug")
      try behaveWell(at: software.path)
      try software.process.waitForText("software (software), 1 queues")
      #expect(try software.end() == .exited(0))
    }
  }
}
