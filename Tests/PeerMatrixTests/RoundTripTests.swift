import Peers
import Testing
import VhostUser

extension PeerMatrixTests {
  @Test(
    "Frames come back byte for byte and in order, on each queue pair", arguments: ServingEngine.allCases, [1, 2])
  func roundTrip(serving: ServingEngine, queues: Int) async throws {
    try await blocking {
      let bench = try Bench()
      let socket = try bench.socket(serving, queues: queues)
      let comparisons = try PcapRoundTrip(options: .init(queues: queues), framesPerQueue: 2000)
        .run(socketPath: socket.status.path)
      #expect(comparisons.count == queues)
      for comparison in comparisons {
        #expect(comparison.isEqual && comparison.returned == 2000, "\(comparison)")
      }
      #expect(socket.taken == Array(repeating: 2000, count: queues))
      #expect(socket.status.datapath == serving.rawValue)
      try bench.finish(socket)
    }
  }
}
