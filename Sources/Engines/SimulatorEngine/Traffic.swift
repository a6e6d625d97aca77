/// What a simulated net device does with packets.
public enum Traffic: String, Sendable, Hashable, CaseIterable {
  /// Gives every packet back on the queue pair on which it came, in order, and takes only what it can give back.
  case loopback
  /// Counts the packets that the guest sends and forgets them.
  case sink
  /// Sends packets as fast as the guest gives buffers, and takes what the guest sends like ``sink``.
  case source
}
