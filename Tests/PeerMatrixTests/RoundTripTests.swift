import Peers
import Testing
import VhostUser

extension PeerMatrixTests {
  @Test(
    "Frames come back byte for byte and in order, on each queue pair", arguments: ServingEngine.allCases, [1, 2])
  func roundTrip(serving: ServingEngine, queues: Int) async throws {
    try await carry(RingPath(.split, queues: queues), serving, frames: 2000)
  }

  /// More than eight DPDK's driver does not take; with 128 pairs vdpadTests has a front-end of its own.
  @Test(
    "So they do on each of eight queue pairs", arguments: ServingEngine.allCases, RingPath.Format.allCases)
  func manyQueues(serving: ServingEngine, format: RingPath.Format) async throws {
    try await carry(RingPath(format, queues: 8), serving, frames: 300)
  }

  private func carry(_ path: RingPath, _ serving: ServingEngine, frames: Int) async throws {
    try await blocking {
      let bench = try Bench(queues: path.queues)
      let socket = try bench.socket(serving, queues: path.queues)
      let outcome = try PcapRoundTrip(options: path.options, framesPerQueue: frames)
        .run(socketPath: socket.status.path) { #expect(bench.isRunning(socket)) }
      #expect(outcome.driverPath == path.driverPath(hasAVX512: PeerCPU.hasAVX512))
      #expect(outcome.comparisons.count == path.queues)
      for comparison in outcome.comparisons {
        #expect(comparison.isEqual && comparison.returned == frames, "\(comparison)")
      }
      #expect(socket.taken == Array(repeating: UInt64(frames), count: path.queues))
      #expect(socket.status.datapath == serving.rawValue)
      try bench.finish(socket)
    }
  }
}
