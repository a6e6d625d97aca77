import Logging
import Peers
import Testing
import VDPA
import VhostUser

extension PeerMatrixTests {
  @Test(
    "A device that swaps, changes, loses or repeats one frame is found out, and where",
    arguments: TamperingEngine.Tampering.allCases, RingPath.Format.allCases)
  func tampering(_ tampering: TamperingEngine.Tampering, format: RingPath.Format) async throws {
    try await blocking {
      let scratch = try ScratchDirectory("tampering")
      let threads = try SessionThreads()
      var logger = Logger(label: "tampering")
      logger.logLevel = .warning
      let socket = VhostUserSocket(
        SocketConfiguration(endpoint: .listen(path: scratch.file("sock"))),
        registry: Registry(software: TamperingEngine(tampering)), threads: threads, logger: logger)
      try socket.start()

      var roundTrip = PcapRoundTrip(options: RingPath(format).options, framesPerQueue: 1000)
      roundTrip.patience = .milliseconds(500)
      let comparison = try #require(try roundTrip.run(socketPath: socket.status.path).comparisons.first)
      let place = TamperingEngine.place
      let expected: Int? =
        switch tampering {
        case .nothing: nil
        case .swap, .bit, .loss: place
        case .repetition: place + 1
        }
      #expect(comparison.firstDifference == expected, "\(comparison)")
      if tampering == .loss { #expect(comparison.returned == 999) }
      socket.stop()
      threads.stop()
    }
  }
}
