import Peers
import SimulatorEngine
import Testing
import VDPA
import VhostUser
import Virtio

extension PeerMatrixTests {
  /// A path with the functions that it leads to on this machine, which the front-end has to name: whatever it was asked
  /// for, this is what ran.
  struct PathCase: Sendable, CustomTestStringConvertible {
    let path: RingPath
    var driverPath: DriverPath { path.driverPath(hasAVX512: PeerCPU.hasAVX512) }
    var testDescription: String { "\(path): \(driverPath)" }

    static let all = RingPath.all.map { PathCase(path: $0) }

    /// Whether long frames would come in tables that the device refuses, see ``PeerMatrixTests/badTables()``. It offers
    /// none then, and they come in chains.
    var hasBadTables: Bool { path.format == .packed && path.isMergeable }

    /// Where they come in chains, DPDK's vectorised transmit function believes that each takes one descriptor, and writes
    /// over some that the device has not come to: it gets no long frames.
    var longestFrame: Int {
      hasBadTables && driverPath.transmit.contains("vectorized") ? 1518 : path.longestFrame
    }
  }

  @Test("On every path of the ring frames come back byte for byte and in order", arguments: PathCase.all)
  func ringPath(_ run: PathCase) async throws {
    try await blocking {
      let bench = try Bench()
      let path = run.path
      let socket = try bench.socket(
        .software, queues: path.queues, without: run.hasBadTables ? [.indirectDescriptors] : [])
      var roundTrip = PcapRoundTrip(along: path)
      roundTrip.longestFrame = run.longestFrame
      let outcome = try roundTrip.run(socketPath: socket.status.path) { #expect(bench.isRunning(socket)) }
      #expect(outcome.driverPath == run.driverPath)
      #expect(outcome.comparisons.count == path.queues)
      for comparison in outcome.comparisons {
        #expect(comparison.isEqual && comparison.returned == roundTrip.framesPerQueue, "\(comparison)")
      }
      #expect(socket.taken == Array(repeating: UInt64(roundTrip.framesPerQueue), count: path.queues))
      #expect(socket.given == socket.taken && socket.dropped == 0)
      #expect(bench.simulated.statistics.allSatisfy { $0.packets == 0 })
      try bench.finish(socket)
    }
  }

  /// DPDK's driver marks the header, the first buffer of a table in a packed ring, as one that the device writes
  /// (`vring_desc_init_indirect_packed`, as of 22.11 and later), and the frame behind it as what it is. Its own back-end
  /// never looks. Here the ring breaks, and with it every packed guest of DPDK's that sends a frame of several pieces.
  @Test("A frame in a table of DPDK's driver for packed rings comes back")
  func badTables() async throws {
    try await blocking {
      let bench = try Bench()
      let socket = try bench.socket(.software)
      var roundTrip = PcapRoundTrip(options: RingPath(.packed).options, framesPerQueue: 10)
      roundTrip.longestFrame = 9000
      roundTrip.patience = .milliseconds(300)
      let outcome = try roundTrip.run(socketPath: socket.status.path) { #expect(bench.isRunning(socket)) }
      let comparison = try #require(outcome.comparisons.first)
      withKnownIssue("the walk over a chain takes a transmit table with a buffer to be written for a fault") {
        #expect(comparison.isEqual, "\(comparison)")
      }
      try bench.finish(socket)
    }
  }
}
