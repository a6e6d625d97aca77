extension Testpmd {
  /// testpmd as a vhost-user front-end without a VM (DPDK's `net_virtio_user`).
  package final class FrontEnd: Sendable {
    /// What it offers and how it runs.
    package struct Options: Sendable {
      /// Queue pairs.
      package var queues = 1
      /// Descriptors a ring.
      package var queueSize = 256
      /// Packed rings, where the back-end has them too.
      package var packed = false
      /// Mergeable receive buffers (VIRTIO_NET_F_MRG_RXBUF).
      package var mrgRxbuf = true
      /// VIRTIO_F_IN_ORDER.
      package var inOrder = true
      /// Asks for vector instructions, which the driver uses under conditions of its own.
      package var isVectorised = false
      package var cpu = PeerCPU.frontEnd
      /// The length in bytes of the packets it makes itself.
      package var packetLength = 64
      package var mbufs = 8192
      /// Further arguments of the device, such as `mac=02:00:00:00:00:01`.
      package var extraDeviceArguments = ""
      package var extraArguments: [String] = []
      package var logFile: String?

      package init(queues: Int = 1, packetLength: Int = 64) {
        self.queues = queues
        self.packetLength = packetLength
      }

      /// Its memory: the packet buffers (2176 bytes and their headers), and room for rings, tables and caches.
      var mebibytes: Int { 96 + mbufs * 2432 >> 20 }

      /// The `--vdev` argument.
      func device(socketPath: String) -> String {
        var fields = ["net_virtio_user0", "path=\(socketPath)", "queues=\(queues)", "queue_size=\(queueSize)"]
        if packed { fields.append("packed_vq=1") }
        if !mrgRxbuf { fields.append("mrg_rxbuf=0") }
        if !inOrder { fields.append("in_order=0") }
        if isVectorised { fields.append("vectorized=1") }
        if !extraDeviceArguments.isEmpty { fields.append(extraDeviceArguments) }
        return fields.joined(separator: ",")
      }

      /// The arguments for EAL: the driver is to say which functions it has chosen, and why. It uses the widest vectors
      /// only if it is allowed to.
      var environmentArguments: [String] {
        ["--log-level=pmd.net.virtio.init:info", "--log-level=pmd.net.virtio.driver:info"]
          + (isVectorised ? ["--force-max-simd-bitwidth=512"] : [])
      }
    }

    package let session: Session
    package let options: Options

    /// Starts it and connects to the back-end that listens on `socketPath`; returns with the rings running.
    package init(socketPath: String, options: Options = Options()) throws(PeerError) {
      self.options = options
      var configuration = Session.Configuration(devices: [options.device(socketPath: socketPath)])
      configuration.queues = options.queues
      configuration.cpu = options.cpu
      configuration.mbufs = options.mbufs
      configuration.mebibytes = options.mebibytes
      configuration.environmentArguments = options.environmentArguments
      configuration.extraArguments = options.extraArguments
      configuration.logFile = options.logFile
      session = try Session(configuration)
      try session.setPacketLength(options.packetLength)
    }

    /// How its driver moves packets.
    package func driverPath() throws(PeerError) -> DriverPath {
      try DriverPath(parsing: session.process.output(), port: 0)
    }

    /// The port's counters since the start.
    package func portStatistics() throws(PeerError) -> PortStatistics { try session.portStatistics() }

    /// Starts forwarding in the mode set last.
    package func start() throws(PeerError) { try session.start() }

    /// Sends `bursts` of 32 packets on every queue, then starts forwarding.
    package func startTxFirst(bursts: Int) throws(PeerError) { try session.start(txFirst: bursts) }

    /// Stops forwarding.
    @discardableResult
    package func stop() throws(PeerError) -> ForwardStatistics {
      try ForwardStatistics(parsing: try session.stop(), port: 0)
    }

    /// Sets the forward mode for the next start.
    package func setForward(_ mode: ForwardMode, retry: Bool = false) throws(PeerError) {
      try session.setForward(mode, retry: retry)
    }

    /// Sets the length in bytes of the packets it makes itself.
    package func setPacketLength(_ bytes: Int) throws(PeerError) { try session.setPacketLength(bytes) }

    /// Disconnects and ends.
    package func quit() { session.quit() }
  }
}
