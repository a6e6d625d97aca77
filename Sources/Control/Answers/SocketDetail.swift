/// A socket, its candidates and its vrings.
package typealias SocketDetail = Joined<SocketSummary, SocketExtras>

/// What `socket.show` has beyond the list.
package struct SocketExtras: Codable, Sendable {
  /// The devices that it may be switched to while its guest runs, whatever that has been promised.
  package var candidates: [DeviceNumbers]
  /// `off`, or `software`, which then takes over from a device that fails.
  package var failover: String
  /// How often that has come about since the socket was made.
  package var failovers: Int
  /// Why it has last; null when it has not.
  @OrNull package var failoverReason: String?
  package var vrings: [VringCounters]

  package init(
    candidates: [DeviceNumbers], failover: String, failovers: Int, failoverReason: String?, vrings: [VringCounters]
  ) {
    (self.candidates, self.failover, self.failovers, self.vrings) = (candidates, failover, failovers, vrings)
    self.failoverReason = failoverReason
  }
}
