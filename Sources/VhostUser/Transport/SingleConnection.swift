import VDPA

/// A connection that another process has made and handed to this one: there is no other after it.
final class SingleConnection: ConnectionSource {
  private let socket: LoopBound<OwnedFD?>

  /// Takes over a connected socket.
  init(_ socket: OwnedFD, on loop: EventLoop) { self.socket = LoopBound(socket, on: loop) }

  var waitingFor: String { "the front-end has gone, and the inherited connection was the only one" }

  func start(
    onConnection: @escaping @Sendable (OwnedFD) -> Void, onError: @escaping @Sendable (VhostUserError) -> Void,
    onChange: @escaping @Sendable () -> Void
  ) throws(VhostUserError) {
    guard let connected = socket.value else { return }
    socket.value = nil
    onConnection(connected)
  }

  func connectionEnded(wasReady: Bool) {}

  func stop() { socket.value = nil }
}
