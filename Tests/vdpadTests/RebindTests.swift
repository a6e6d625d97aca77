import Control
import Foundation
import FrontEndTestSupport
import Peers
import Testing

/// The live switch from outside: `vdpactl socket bind`, `unbind` and `rebind` while a front-end sends.
@Suite(.serialized)
struct RebindTests {
  @Test(
    "A front-end that sends all the time loses nothing while its socket goes to the simulator and back, over and over",
    arguments: [[], ["--packed"]])
  func underTraffic(rings: [String]) async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      try daemon.does("engine", "add", "--driver", "simulator", "--address", "virtual", "--param", "devices=2")
      let path = daemon.file("vm0")
      try daemon.does("socket", "add", "vm0", "--path", path, "--candidate", "0/0", "--candidate", "0/1")
      let test = try Daemon.start(
        ["self-test", "--socket-path", path, "--packets", "150000", "--ring-size", "256", "--window", "64", "-j"]
          + rings)
      let spellings: [([String], String)] = [
        (["bind", "vm0", "--engine", "0", "--device", "0"], "simulator"), (["unbind", "vm0"], "software"),
        (["rebind", "vm0", "--engine", "0", "--device", "1"], "simulator"),
        (["rebind", "vm0", "--software"], "software"),
        (["bind", "vm0", "--engine", "0", "--device", "1"], "simulator"),
        (["bind", "vm0", "--engine", "0", "--device", "0"], "simulator"),
        (["bind", "vm0", "--engine", "-1", "--device", "-1"], "software"),
      ]
      var carried: [String: UInt64] = [:]
      var switches = 0
      while test.exitStatus == nil {
        let (arguments, datapath) = spellings[switches % spellings.count]
        let (status, output) = try ControlledDaemon.run(
          PeerProcess(PeerProcess.builtProgram("vdpactl"), ["--control", daemon.control, "socket"] + arguments))
        #expect(status == .exited(0), "\(output)")
        switches += 1
        let stats: Statistics = try daemon.json("stats", "socket", "vm0")
        #expect(stats.sockets.first?.datapath == datapath)
        // They begin at 0 with each device.
        carried[datapath, default: 0] +=
          stats.sockets.first?.vrings.first { $0.name == "tx0" }?.counters["good_packets"] ?? 0
      }
      let (status, output) = try ControlledDaemon.run(test)
      #expect(status == .exited(0), "\(output)")
      let report = try SelfTestOutput(output)
      #expect(report.clean && report.failure == nil && report.total.sent == 150_000 && report.total.received == 150_000)
      #expect(switches >= spellings.count, "too few switches to say anything")
      #expect(carried["software", default: 0] > 0 && carried["simulator", default: 0] > 0)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("A switch that cannot work is refused by name, and the device before goes on")
  func refused() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      try daemon.does(
        "engine", "add", "--driver", "simulator", "--address", "virtual", "--param", "queues=1")
      try daemon.does("socket", "add", "vm0", "--path", daemon.file("vm0"), "--queues", "2")
      let guest = try Guest(queues: 2)
      let frontEnd = try RawFrontEnd(path: daemon.file("vm0"))
      try guest.run(with: frontEnd)
      #expect(try guest.exchange([1]) == [1])
      let (status, output) = try daemon.vdpactl("socket", "bind", "vm0", "--engine", "0", "--device", "0")
      #expect(status == .exited(1) && output.contains("vm0"), "\(output)")
      #expect(try guest.exchange([2]) == [2])
      let list: [SocketSummary] = try daemon.json("socket", "list")
      #expect(list.map(\.datapath) == ["software"] && list.map(\.ready) == [true])
      #expect(try daemon.end() == .exited(0))
    }
  }
}
