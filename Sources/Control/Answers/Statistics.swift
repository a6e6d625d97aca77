/// What `stats` answers with.
package struct Statistics: Codable, Sendable {
  /// The sockets by name.
  package var sockets: [SocketStatistics]

  package init(sockets: [SocketStatistics]) { self.sockets = sockets }
}
