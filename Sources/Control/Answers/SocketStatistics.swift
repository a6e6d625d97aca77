/// The counters of a socket.
package struct SocketStatistics: Codable, Sendable {
  package var name: String
  /// `software`, or the name of the engine's driver.
  package var datapath: String
  package var vrings: [VringCounters]

  package init(name: String, datapath: String, vrings: [VringCounters]) {
    (self.name, self.datapath, self.vrings) = (name, datapath, vrings)
  }
}
