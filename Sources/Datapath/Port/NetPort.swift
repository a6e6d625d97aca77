internal import Virtio

/// What the software net datapath does with the packets of a queue pair. Each pair has one of its own.
protocol NetPort {
  /// Serves the pair once; its transmit ring is enabled or missing, its receive ring may be missing or disabled.
  ///
  /// - Returns: How many packets were moved, 0 when there was nothing to do or nothing could be done.
  mutating func serve(_ pair: inout NetPair.Rings, _ burst: PacketBurst) -> Int
}
