import Control
import Foundation
import FrontEndTestSupport
import Peers
import Testing

/// `vdpactl` and `vdpad run` together, as they are typed.
@Suite(.serialized)
struct ControlCommandTests {
  @Test("engine: add prints the new id; list, show and remove know it; what is wrong has an exit code")
  func engines() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      let add = ["engine", "add", "--driver", "simulator", "--address", "virtual"]
      #expect(
        try daemon.does("engine", "add", "--driver", "simulator", "--address", "virtual", "--param", "devices=4")
          == "0\n")
      let second: EngineSummary = try daemon.json(
        "engine", "add", "--driver", "simulator", "--address", "virtual", "--param", "devices=2", "--param", "queues=1")
      #expect(second == EngineSummary(id: 1, driver: "simulator", address: "virtual", devices: 2))
      let list: [[String: JSONValue]] = try daemon.json("engine", "list")
      #expect(list.map { $0["id"] } == [.integer(-1), .integer(0), .integer(1)])
      #expect(list.map { $0["devices"] } == [.integer(0), .integer(4), .integer(2)])
      #expect(list.allSatisfy { Set($0.keys) == ["id", "driver", "address", "devices"] })
      #expect(
        try daemon.does("engine", "list") == """
          ID  DRIVER     ADDRESS  DEVICES
          -1  software   -        0
          0   simulator  virtual  4
          1   simulator  virtual  2

          """)
      #expect(try daemon.does("engine", "show", "1").contains("parameters:  devices=2 queues=1\n"))
      #expect(try daemon.does("engine", "show", "--", "-1").contains("software"))
      let devices: [DeviceSummary] = try daemon.json("device", "list")
      #expect(devices.map(\.numbers.description) == ["0/0", "0/1", "0/2", "0/3", "1/0", "1/1"])
      let device: DeviceDetail = try daemon.json("device", "show", "1/1")
      #expect(device.queues == 1 && device.type == "net" && device.socket == nil)
      #expect(try daemon.does("device", "show", "1/1").contains("VIRTIO_F_VERSION_1"))
      try daemon.does("engine", "remove", "0")
      #expect(try daemon.does("engine", "add", "--driver", "simulator", "--address", "virtual") == "0\n")

      for (arguments, status, text) in [
        (["engine", "remove", "7"], 1, "there is no engine 7"),
        (["engine", "remove"], 64, "Missing expected argument"),
        (["engine", "remove", "x"], 64, "invalid"), (add + ["--param", "devices"], 64, "not key=value"),
        (add + ["--param", "a=1", "--param", "a=2"], 64, "twice"), (add + ["--param", "devices=x"], 1, "devices=x"),
        (["device", "show", "0"], 64, "invalid"), (["device", "show", "0/9"], 1, "has no device 9"),
        (["engine", "lost"], 64, "lost"),
      ] as [([String], Int32, String)] {
        let process = try PeerProcess(PeerProcess.builtProgram("vdpactl"), ["--control", daemon.control] + arguments)
        let (found, output) = try ControlledDaemon.run(process)
        #expect(found == .exited(status) && output.contains(text), "\(arguments): \(output)")
      }
      #expect(try daemon.end() == .exited(0))
      let (status, output) = try daemon.vdpactl("engine", "list")
      #expect(status == .exited(3) && output.contains("start one with `vdpad run`"), "\(output)")
    }
  }

  @Test("socket: every key of the list stands in it, and says how the socket stands")
  func sockets() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      try daemon.does("engine", "add", "--driver", "simulator", "--address", "virtual", "--param", "devices=2")
      try daemon.does("socket", "add", "vm0", "--path", daemon.file("vm0"))
      try daemon.does(
        "socket", "add", "vm1", "--path", daemon.file("vm1"), "--queues", "2", "--engine", "0", "--device", "1",
        "--candidate", "-1/-1")
      let listener = try FrontEndListener(path: daemon.file("vm2"))
      try daemon.does("socket", "add", "vm2", "--path", daemon.file("vm2"), "--client", "--port", "sink")
      let disk = daemon.file("disk")
      try Data(count: 1 << 20).write(to: URL(fileURLWithPath: disk))
      try daemon.does("socket", "add", "vd0", "--path", daemon.file("vd0"), "--type", "block", "--blk-file", disk)

      let guest = try Guest(queues: 2)
      let frontEnd = try RawFrontEnd(path: daemon.file("vm1"))
      try guest.run(with: frontEnd)
      #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3])
      let accepted = try #require(try listener.accept())

      let list: [[String: JSONValue]] = try daemon.json("socket", "list")
      #expect(list.map { $0["name"] } == ["vd0", "vm0", "vm1", "vm2"].map { .text($0) })
      for socket in list {
        #expect(
          Set(["name", "path", "role", "engine", "device", "datapath", "connected", "ready", "notReadyReason"])
            .isSubset(of: Set(socket.keys)))
      }
      #expect(list.map { $0["path"] } == ["vd0", "vm0", "vm1", "vm2"].map { .text(daemon.file($0)) })
      #expect(list.map { $0["role"] } == ["server", "server", "server", "client"].map { .text($0) })
      #expect(list.map { $0["engine"] } == [-1, -1, 0, -1].map { .integer($0) })
      #expect(list.map { $0["device"] } == [-1, -1, 1, -1].map { .integer($0) })
      #expect(list.map { $0["datapath"] } == ["software", "software", "simulator", "software"].map { .text($0) })
      #expect(list.map { $0["connected"] } == [false, false, true, true].map { .bool($0) })
      #expect(list.map { $0["ready"] } == [false, false, true, false].map { .bool($0) })
      #expect(list[1]["notReadyReason"] == .text("no front-end is connected"))
      #expect(list[2]["notReadyReason"] == .null)

      let devices: [DeviceSummary] = try daemon.json("device", "list")
      #expect(devices.map(\.socket) == [nil, "vm1"])
      let show: SocketDetail = try daemon.json("socket", "show", "vm1")
      #expect(
        show.candidates.map(\.description) == ["-1/-1"] && show.vrings.map(\.name) == ["rx0", "tx0", "rx1", "tx1"])
      let stats: Statistics = try daemon.json("stats", "socket", "vm1")
      #expect(stats.sockets.map(\.name) == ["vm1"])
      #expect(stats.sockets[0].vrings.map { $0.counters["good_packets"] } == [1, 1, 0, 0])
      let all: Statistics = try daemon.json("stats")
      #expect(all.sockets.map(\.name) == ["vd0", "vm0", "vm1", "vm2"])
      let table = try daemon.does("stats", "socket", "vm1")
      #expect(table.hasPrefix("vm1 (simulator)\nVRING  PACKETS  BYTES"), "\(table)")
      #expect(try daemon.does("socket", "list").contains("not ready: no front-end is connected"))
      #expect(try daemon.does("socket", "show", "vd0").contains("type:             block\n"))

      accepted.hangUp()
      try daemon.does("socket", "remove", "vm1")
      #expect(try frontEnd.isClosed() && !FileManager.default.fileExists(atPath: daemon.file("vm1")))
      let free: [DeviceSummary] = try daemon.json("device", "list")
      #expect(free.map(\.socket) == [nil, nil])
      #expect(show.failover == "off" && show.failovers == 0 && show.failoverReason == nil)
      try daemon.does(
        "socket", "add", "vm1", "--path", daemon.file("vm1"), "--engine", "0", "--device", "1", "--failover", "software"
      )
      let again: SocketDetail = try daemon.json("socket", "show", "vm1")
      #expect(again.failover == "software" && again.datapath == "simulator")
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("A mistyped name of a socket is met with the one that was meant; what makes no sense is a wrong command line")
  func mistakes() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      let (lone, alone) = try daemon.vdpactl("socket", "show", "vm0")
      #expect(lone == .exited(1) && alone.contains("there is none at all"), "\(alone)")
      for name in ["web-frontend", "database"] {
        try daemon.does("socket", "add", name, "--path", daemon.file(name))
      }
      for (arguments, status, text) in [
        (["socket", "unbind", "web-fronted"], 1, "did you mean \"web-frontend\"?"),
        (["stats", "socket", "databse"], 1, "did you mean \"database\"?"),
        (["socket", "remove", "other"], 1, "there is no socket \"other\"\n"),
        (["socket", "bind", "database"], 64, "--engine and --device say so"),
        (["socket", "bind", "database", "--engine", "0"], 64, "--engine and --device go together"),
        (["socket", "rebind", "database"], 64, "--engine and --device say so"),
        (["socket", "rebind", "database", "--software", "--engine", "0", "--device", "0"], 64, "one of --software"),
        (["socket", "add", "x"], 64, "--path"),
        (["socket", "add", "x", "--path", "p", "--candidate", "1"], 64, "candidate"),
        (["socket", "add", "x", "--path", "p", "--queues", "1000"], 1, "queues has to be"),
        (["socket", "add", "x", "--path", "p", "--failover", "perhaps"], 1, "failover"),
      ] as [([String], Int32, String)] {
        let process = try PeerProcess(PeerProcess.builtProgram("vdpactl"), ["--control", daemon.control] + arguments)
        let (found, output) = try ControlledDaemon.run(process)
        #expect(found == .exited(status) && output.contains(text), "\(arguments): \(output)")
      }
      #expect(try daemon.end() == .exited(0))
    }
  }
}
