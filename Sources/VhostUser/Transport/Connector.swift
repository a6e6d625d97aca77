import SystemPackage
package import VDPA

/// Connects to a front-end that listens on a Unix socket, again and again, and never waits for it: whatever the reason that
/// nobody is there, or that its queue of clients is full, the next try comes later.
///
/// Made anywhere; everything else happens on the loop's thread. Nothing is tried while a connection lasts.
package final class Connector: Sendable {
  private struct State {
    var backoff = Backoff()
    /// Since the last connection.
    var failedTries = 0
    var lastFailure: Errno?
    /// When the connection was made that was handed over last.
    var connected: UInt64 = 0
    /// Nil before the start and after the stop.
    var onConnection: (@Sendable (OwnedFD) -> Void)?
    var onError: (@Sendable (VhostUserError) -> Void)?
    var onChange: (@Sendable () -> Void)?
  }

  private let path: String
  private let loop: EventLoop
  private let state: LoopBound<State>

  /// - Throws: `.badPath` for a path that no socket can have.
  package init(path: String, on loop: EventLoop) throws(VhostUserError) {
    try SocketFile.check(path)
    self.path = path
    self.loop = loop
    state = LoopBound(State(), on: loop)
  }

  private func tryLater() {
    // Once stopped it is let go of, however long the wait would still be.
    loop.run(after: state.value.backoff.next()) { [weak self] in self?.connect() }
  }

  private func connect() {
    guard let onConnection = state.value.onConnection else { return }
    do throws(Errno) {
      let socket = try StreamSocket.make()
      try StreamSocket.connect(socket, to: path)
      state.value.failedTries = 0
      state.value.connected = MonotonicClock.nanoseconds
      onConnection(socket)
    } catch {
      failed(error)
    }
  }

  private func failed(_ errno: Errno) {
    state.value.failedTries += 1
    state.value.lastFailure = errno
    if state.value.failedTries == 1 {
      state.value.onError?(
        VhostUserError(.unreachable, "no connection to \(path) for now; it is tried again and again", errno: errno))
    }
    state.value.onChange?()
    tryLater()
  }
}

extension Connector: ConnectionSource {
  package var waitingFor: String {
    let current = state.value
    guard current.failedTries > 0, let last = current.lastFailure else { return "connecting to \(path)" }
    return "connecting to \(path); tries that failed: \(current.failedTries), the last one: \(last)"
  }

  package func start(
    onConnection: @escaping @Sendable (OwnedFD) -> Void, onError: @escaping @Sendable (VhostUserError) -> Void,
    onChange: @escaping @Sendable () -> Void
  ) throws(VhostUserError) {
    state.value.onConnection = onConnection
    state.value.onError = onError
    state.value.onChange = onChange
    tryLater()
  }

  /// A connection that came to something, or lasted, is a success: the next try is made at once. A front-end that ends each
  /// connection as soon as it is there is left alone for longer each time.
  package func connectionEnded(wasReady: Bool) {
    let lasted = (MonotonicClock.nanoseconds - state.value.connected) / 1_000_000
    if wasReady || lasted >= UInt64(Backoff.longest) { state.value.backoff.reset() }
    tryLater()
  }

  package func stop() { state.value = State() }
}
