/// A socket, its candidates and its vrings.
package typealias SocketDetail = Joined<SocketSummary, SocketExtras>

/// What `socket.show` has beyond the list.
package struct SocketExtras: Codable, Sendable {
  /// The devices that it may be switched to while its guest runs, whatever that has been promised.
  package var candidates: [DeviceNumbers]
  package var vrings: [VringCounters]

  package init(candidates: [DeviceNumbers], vrings: [VringCounters]) {
    (self.candidates, self.vrings) = (candidates, vrings)
  }
}
