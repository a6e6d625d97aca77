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
  }

  @Test("On every path of the ring frames come back byte for byte and in order", arguments: PathCase.all)
  func ringPath(_ run: PathCase) async throws {
    try await blocking {
      let bench = try Bench()
      let path = run.path
      let socket = try bench.socket(.software, queues: path.queues)
      let roundTrip = PcapRoundTrip(along: path)
      let outcome = try roundTrip.run(socketPath: socket.status.path) { #expect(bench.isRunning(socket)) }
      #expect(outcome.driverPath == run.driverPath)
      let features = bench.log(of: socket).features
      #expect(features.contains(.packedRing) == (path.format == .packed))
      #expect(features.contains(.netMergeableBuffers) == path.isMergeable)
      #expect(features.contains(.inOrder) == path.isInOrder)
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
}
