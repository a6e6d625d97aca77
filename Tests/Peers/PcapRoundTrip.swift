import Foundation

/// Content and order through a back-end that gives packets back: one testpmd forwards a capture file into the
/// back-end and what returns into another, a pair of files a queue pair, since order holds within a queue.
package struct PcapRoundTrip: Sendable {
  /// The device's options; the packet length has no meaning here.
  package var options: Testpmd.FrontEnd.Options
  package var framesPerQueue: Int
  /// The length of the longest frame in bytes.
  package var longestFrame = NumberedFrames.sizes.upperBound
  package var seed: UInt64
  /// How long may pass without a frame returning.
  package var patience = Duration.seconds(3)

  /// Several rings' worth of frames, so that the indices wrap.
  package init(options: Testpmd.FrontEnd.Options = .init(), framesPerQueue: Int = 3000, seed: UInt64 = 1) {
    self.options = options
    self.framesPerQueue = framesPerQueue
    self.seed = seed
  }

  /// Along a path of the driver, rings' worths of frames, of all sizes that it takes.
  package init(along path: RingPath) {
    self.init(options: path.options, framesPerQueue: max(1000, path.size * 5 / 2))
    longestFrame = path.longestFrame
  }

  /// What has come of it.
  package struct Outcome: Sendable {
    /// One comparison a queue pair.
    package let comparisons: [FrameComparison]
    /// How the front-end moved the frames.
    package let driverPath: DriverPath
  }

  /// Runs it against the back-end that listens on `socketPath`.
  ///
  /// - Parameter whenConnected: Called before the first frame is sent: what the front-end has told the back-end by then
  ///   has not been acknowledged.
  package func run(socketPath: String, whenConnected: () -> Void = {}) throws(PeerError) -> Outcome {
    let scratch = try ScratchDirectory("pcap")
    let sent = (0..<options.queues).map {
      Array(NumberedFrames(count: framesPerQueue, queue: $0, seed: seed, longest: longestFrame))
    }
    var files = "net_pcap0"
    for queue in 0..<options.queues {
      try Pcap(frames: sent[queue]).write(to: scratch.file("in\(queue)"))
      files += ",rx_pcap=\(scratch.file("in\(queue)"))"
    }
    for queue in 0..<options.queues { files += ",tx_pcap=\(scratch.file("out\(queue)"))" }

    var configuration = Testpmd.Session.Configuration(devices: [files, options.device(socketPath: socketPath)])
    configuration.queues = options.queues
    // A thread for each stream: the one that waits for room in the transmit ring must not keep the other from emptying
    // the receive ring: with both rings full, a back-end that never drops has to wait for the latter.
    configuration.forwardingThreads = 2 * options.queues
    configuration.cpu = options.cpu
    configuration.mbufs = options.mbufs
    configuration.mebibytes = options.mebibytes
    configuration.logFile = options.logFile
    configuration.environmentArguments = options.environmentArguments
    // Otherwise `start` throws away what is in the receive queues, the head of the capture file among it.
    configuration.extraArguments = options.extraArguments + ["--no-flush-rx"]
    let session = try Testpmd.Session(configuration)
    try session.setRetry(count: 100_000, microseconds: 100)
    try session.setForward(.io, retry: true)
    whenConnected()
    try session.start()
    try waitForReturn(session)
    let statistics = try session.stop()
    // net_pcap flushes after each burst; the end of the process leaves no doubt.
    let status = session.quit()
    guard status == .exited(0) else {
      throw PeerError(
        .invalidRun, "\(Testpmd.program) \(status) after the round trip", outputTail: session.process.outputTail())
    }
    let fromFiles = try ForwardStatistics(parsing: statistics, port: 0)
    let toDevice = try ForwardStatistics(parsing: statistics, port: 1)
    // Lost on the way out or in by testpmd itself: nothing can be said of the back-end.
    guard fromFiles.rxPackets == UInt64(framesPerQueue * options.queues), fromFiles.txDropped == 0 else {
      throw PeerError(.invalidRun, "testpmd read or wrote fewer frames than it had: \(fromFiles)")
    }
    guard toDevice.txPackets + toDevice.txDropped == fromFiles.rxPackets else {
      throw PeerError(.invalidRun, "testpmd did not forward all it read: \(toDevice)")
    }
    var comparisons: [FrameComparison] = []
    for queue in 0..<options.queues {
      let returned = try Pcap(contentsOf: scratch.file("out\(queue)")).frames
      comparisons.append(FrameComparison(sent: sent[queue], returned: returned))
    }
    return Outcome(
      comparisons: comparisons, driverPath: try DriverPath(parsing: session.process.output(), port: 1))
  }

  /// Waits until as many frames are back as were sent, or none has come for `patience`.
  private func waitForReturn(_ session: Testpmd.Session) throws(PeerError) {
    let expected = UInt64(framesPerQueue * options.queues)
    var last: UInt64 = 0
    var changed = ContinuousClock.now
    while true {
      let written = try session.portStatistics(0).txPackets
      if written >= expected { return }
      if written != last { (last, changed) = (written, .now) }
      if ContinuousClock.now - changed >= patience { return }
      Thread.sleep(forTimeInterval: 0.05)
    }
  }
}
