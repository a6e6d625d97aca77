/// Hears of what happens on a socket.
public protocol VhostUserSocketDelegate: Sendable {
  /// Something happened.
  ///
  /// Called on the thread that serves the socket, under no lock; other sockets of that thread wait meanwhile.
  func socket(_ socket: VhostUserSocket, event: SocketEvent)
}
