internal import Synchronization
internal import VDPA

/// Hands the events of a socket to everybody who wants them, never under a lock.
final class SocketEvents: Sendable {
  private let streams = EventStreams<SocketEvent>()
  private let delegate = Mutex<(any VhostUserSocketDelegate)?>(nil)

  func setDelegate(_ delegate: (any VhostUserSocketDelegate)?) {
    self.delegate.withLock { $0 = delegate }
  }

  func makeStream() -> AsyncStream<SocketEvent> { streams.makeStream() }

  func send(_ event: SocketEvent, from socket: VhostUserSocket) {
    streams.send(event)
    delegate.withLock { $0 }?.socket(socket, event: event)
  }

  /// Ends all sequences.
  func finish() { streams.finish() }
}
