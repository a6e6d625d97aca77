internal import Synchronization

/// Hands events to everybody who listens, each as an asynchronous sequence of their own.
package final class EventStreams<Event: Sendable>: Sendable {
  private struct State {
    var nextID = 0
    var streams: [Int: AsyncStream<Event>.Continuation] = [:]
  }

  /// How many events wait for a listener that does not come; the oldest are forgotten first.
  private static var kept: Int { 1024 }

  private let state = Mutex(State())

  package init() {}

  /// The events from now on.
  package func makeStream() -> AsyncStream<Event> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: Event.self, bufferingPolicy: .bufferingNewest(EventStreams.kept))
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

  package func send(_ event: Event) {
    let streams = state.withLock { Array($0.streams.values) }
    for stream in streams { stream.yield(event) }
  }

  /// Ends all sequences.
  package func finish() {
    let streams = state.withLock { Array($0.streams.values) }
    for stream in streams { stream.finish() }
  }
}
