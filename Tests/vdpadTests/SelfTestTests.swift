import Foundation
import FrontEndTestSupport
import Peers
import Testing
import VDPA
import VhostUser
import Virtio

/// `vdpad self-test` as a process, against `vdpad serve`; and numbered packets through a daemon that is killed.
@Suite(.serialized)
struct SelfTestTests {
  @Test(
    "A back-end that gives packets back is clean, on all of its queues, in both formats",
    arguments: [[], ["--engine", "simulator:queues=2,ring-size=1024"]], [[], ["--packed"]])
  func clean(engine: [String], format: [String]) async throws {
    try await blocking {
      let daemon = try Daemon(["--queues", "2"] + engine)
      let options = ["self-test", "--socket-path", daemon.path, "--packets", "3000"] + format
      let (status, output) = try Daemon.run(options + ["-j"])
      #expect(status == .exited(0), "\(output)")
      let report = try SelfTestOutput(output)
      #expect(report.clean && report.failure == nil && report.pairs.count == 2)
      #expect(report.pairs.allSatisfy { $0.sent == 3000 && $0.received == 3000 && $0.peakInFlight == 256 })
      #expect(report.total.received == 6000)
      #expect(report.total.latencyNanoseconds.keys.sorted() == ["max", "p50", "p99", "p999"])
      let (again, text) = try Daemon.run(options + ["--queues", "1"])
      #expect(again == .exited(0))
      #expect(text.contains("received") && text.contains(" 3000 ") && text.contains("\nclean, "), "\(text)")
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("A back-end that keeps packets is not: exit code 1, all are lost, and why that may be")
  func sink() async throws {
    try await blocking {
      let daemon = try Daemon("--port", "sink")
      let options = ["self-test", "--socket-path", daemon.path, "--packets", "100", "--timeout", "1"]
      let (status, output) = try Daemon.run(options + ["--json"])
      #expect(status == .exited(1))
      let report = try SelfTestOutput(output)
      #expect(!report.clean && report.failure == nil && report.total.lost == 100 && report.total.received == 0)
      let (again, text) = try Daemon.run(options)
      #expect(again == .exited(1))
      #expect(text.contains("NOT CLEAN") && text.contains("--port loopback"), "\(text)")
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("Nobody there, fewer queues than wanted, and options that make no sense are errors by name")
  func refused() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let (status, output) = try Daemon.run(["self-test", "--socket-path", scratch.file("none")])
      #expect(status == .exited(1))
      #expect(output.contains("none: no back-end listens"), "\(output)")
      let daemon = try Daemon("--queues", "2")
      for (options, text) in [
        (["--queues", "3"], "the back-end has 2"), (["--ring-size", "100"], "power of two"),
        (["--packets", "0"], "--packets"), (["--window", "0"], "--window"), (["--timeout", "0"], "--timeout"),
      ] {
        let (status, output) = try Daemon.run(["self-test", "--socket-path", daemon.path] + options)
        #expect(status == .exited(64) && output.contains(text), "\(output)")
      }
      #expect(try daemon.end() == .exited(0))
    }
  }

  /// A daemon at a path, which may have been another one's.
  private static func serve(at path: String, _ engine: [String]) throws -> PeerProcess {
    let process = try Daemon.start(["serve", "--socket-path", path, "--log-level", "debug"] + engine)
    try process.waitForText("listening")
    return process
  }

  @Test("With --reconnect a daemon may be killed and started again in the middle")
  func reconnect() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let path = scratch.file("sock")
      let first = try Self.serve(at: path, [])
      let test = try Daemon.start([
        "self-test", "--socket-path", path, "--packets", "100000", "--reconnect", "20", "--timeout", "20", "-j",
      ])
      try first.waitForText("ready")
      first.signal(SIGKILL)
      _ = try first.waitForExit(timeout: .seconds(10))
      let second = try Self.serve(at: path, [])
      #expect(try test.waitForExit(timeout: .seconds(60)) == .exited(0), "\(test.output())")
      _ = try? test.waitForText("\u{0}", timeout: .seconds(5))
      let total = try SelfTestOutput(test.output()).total
      #expect(total.reconnects == 1 && total.received + total.lostAtReconnect == 100_000)
      #expect(second.terminate() == .exited(0))
      // The socket of the second one has gone as well.
      let (status, output) = try Daemon.run(["self-test", "--socket-path", path])
      #expect(status == .exited(1) && output.contains("no back-end listens"), "\(output)")
    }
  }

  /// A killed back-end leaves its rings as they are: whatever it was doing.
  @Test(
    "A daemon that is killed with packets in flight, again and again: none of those that it did not have is lost",
    arguments: [[], ["--engine", "simulator:queues=1,ring-size=1024"]], RingLayout.Format.allCases)
  func killed(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let path = scratch.file("sock")
      let ring: Features = [.indirectDescriptors, format == .packed ? .packedRing : .eventIndex]
      let guest = try FrontendGuest(
        features: ring.union([.version1, .netMergeableBuffers]), vringCount: 2, ringSize: 512,
        bufferBytes: NumberedTraffic.bufferBytes(ringSize: 512, pairs: 1))
      let traffic = try NumberedTraffic(guest)
      for round in 0..<8 {
        let daemon = try Self.serve(at: path, engine)
        let frontend = Frontend(try FrontendConnection(path: path, waitsForListener: true))
        try frontend.negotiate(guest.features)
        try traffic.reconnect(over: frontend)
        traffic.want(2000)
        // Until it surely serves; then a little further each time.
        let before = traffic.reports[0].received
        while traffic.reports[0].received == before { try traffic.step() }
        for _ in 0..<round * 5 { try traffic.step() }
        daemon.signal(SIGKILL)
        _ = try daemon.waitForExit(timeout: .seconds(10))
        #expect(!frontend.connection.isConnected)
      }
      let last = try Self.serve(at: path, engine)
      let frontend = Frontend(try FrontendConnection(path: path))
      try frontend.negotiate(guest.features)
      try traffic.reconnect(over: frontend)
      #expect(try traffic.run())
      let report = traffic.reports[0]
      #expect(report.isClean && report.sent == 16_000 && report.reconnects == 9, "\(report.counters)")
      #expect(report.inFlightAtReconnect > 0 && report.received + report.lostAtReconnect == 16_000)
      #expect(last.terminate() == .exited(0))
    }
  }
}
