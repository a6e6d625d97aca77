import Synchronization

/// Hands the events of a socket to everybody who wants them, never under a lock.
final class SocketEvents: Sendable {
  private struct State {
    var nextID = 0
    var streams: [Int: AsyncStream<SocketEvent>.Continuation] = [:]
    var delegate: (any VhostUserSocketDelegate)?
  }

  /// How many events wait for a listener that does not come; the oldest are forgotten first.
  private static let kept = 1024

  private let state = Mutex(State())

  func setDelegate(_ delegate: (any VhostUserSocketDelegate)?) {
    state.withLock { $0.delegate = delegate }
  }

  func makeStream() -> AsyncStream<SocketEvent> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: SocketEvent.self, bufferingPolicy: .bufferingNewest(SocketEvents.kept))
    let id = state.withLock { state in
      state.nextID += 1
      state.streams[state.nextID] = continuation
      return state.nextID
    }
    continuation.onTermination = { [weak self] _ in
      _ = self?.state.withLock { $0.streams.removeValue(forKey: id) }
    }
    return stream
  }

  func send(_ event: SocketEvent, from socket: VhostUserSocket) {
    let (streams, delegate) = state.withLock { (Array($0.streams.values), $0.delegate) }
    for stream in streams { stream.yield(event) }
    delegate?.socket(socket, event: event)
  }

  /// Ends all sequences.
  func finish() {
    let streams = state.withLock { Array($0.streams.values) }
    for stream in streams { stream.finish() }
  }
}
