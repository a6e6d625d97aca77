internal import Synchronization

/// Hands the events of a bus to everybody who wants them, never under a lock.
final class BusEvents: Sendable {
  private let streams = EventStreams<BusEvent>()
  private let delegate = Mutex<(any BusDelegate)?>(nil)

  func setDelegate(_ delegate: (any BusDelegate)?) {
    self.delegate.withLock { $0 = delegate }
  }

  func makeStream() -> AsyncStream<BusEvent> { streams.makeStream() }

  func send(_ event: BusEvent, from registry: Registry) {
    streams.send(event)
    delegate.withLock { $0 }?.bus(registry, event: event)
  }

  deinit { streams.finish() }
}
