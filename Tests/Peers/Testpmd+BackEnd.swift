extension Testpmd {
  /// testpmd as a vhost-user back-end (DPDK's `net_vhost`).
  package final class BackEnd: Sendable {
    /// What it does with packets.
    package enum Port: Hashable, Sendable {
      /// Gives every packet back on its queue pair. It drops what the front-end has no buffer for; `lossless` waits for
      /// one instead, for two seconds.
      case loopback(lossless: Bool)
      /// Counts and drops.
      case sink
      /// Sends packets of this length in bytes.
      case source(length: Int)
    }

    package let session: Session
    package let socketPath: String

    /// Starts it, listening on `socketPath` and, unless told otherwise, forwarding.
    package init(
      socketPath: String, port: Port, queues: Int = 1, cpu: Int = PeerCPU.backEnd, extraDeviceArguments: String = "",
      extraArguments: [String] = [], logFile: String? = nil, forwarding: Bool = true
    ) throws(PeerError) {
      self.socketPath = socketPath
      let extra = extraDeviceArguments.isEmpty ? "" : "," + extraDeviceArguments
      var configuration = Session.Configuration(devices: ["net_vhost0,iface=\(socketPath),queues=\(queues)\(extra)"])
      configuration.queues = queues
      configuration.cpu = cpu
      configuration.extraArguments = extraArguments
      configuration.logFile = logFile
      session = try Session(configuration)
      switch port {
      case .loopback(let lossless):
        if lossless { try session.setRetry(count: 100_000, microseconds: 20) }
        try session.setForward(.io, retry: lossless)
      case .sink:
        try session.setForward(.rxonly)
      case .source(let length):
        try session.setPacketLength(length)
        try session.setForward(.txonly)
      }
      if forwarding { try session.start() }
    }

    /// Stops forwarding and returns what was forwarded. The connection stays.
    @discardableResult
    package func stop() throws(PeerError) -> ForwardStatistics {
      try ForwardStatistics(parsing: try session.stop(), port: 0)
    }

    /// Forwards, after `stop()` again.
    package func start() throws(PeerError) { try session.start() }

    /// Ends it.
    package func quit() { session.quit() }
  }
}
