import CLinux
import Glibc
import SystemPackage
package import VDPA

/// Accepts the connections of a listening Unix socket, on an event loop.
///
/// Made anywhere; `start` and `stop` on the loop's thread.
package final class Listener: Sendable {
  package typealias ConnectionHandler = @Sendable (OwnedFD) -> Void
  package typealias ErrorHandler = @Sendable (VhostUserError) -> Void
  /// accept4(2) as ``clinux_accept``: a descriptor or a negated errno.
  package typealias Accept = @Sendable (CInt) -> CInt

  private struct State {
    var socket: OwnedFD?
    var registration: EventLoop.Registration?
    var onConnection: ConnectionHandler?
    var onError: ErrorHandler?
    /// The last accept failed for want of resources, and it has been reported.
    var isShort = false
  }

  /// Connections taken before others on the loop have their turn.
  private static let acceptsPerWake = 16
  /// How long to leave new connections alone when the process has no descriptors left, in milliseconds.
  private static let pause = 100

  /// Where it listens; nil for an inherited socket.
  package let file: SocketFile?
  private let loop: EventLoop
  private let accept: Accept
  private let state: LoopBound<State>

  /// Makes a socket that listens at `path`. Clients can connect from now on and wait until `start`.
  ///
  /// - Throws: See ``SocketFile/listen(at:options:)``.
  package convenience init(
    path: String, options: SocketFile.Options = .init(), on loop: EventLoop, accept: @escaping Accept = Listener.accept
  ) throws(VhostUserError) {
    let (socket, file) = try SocketFile.listen(at: path, options: options)
    self.init(socket: socket, file: file, loop: loop, accept: accept)
  }

  /// Takes over a listening socket that another process has made; its file is never removed.
  ///
  /// - Throws: `.wrongDescriptor` unless it is one.
  package convenience init(adopting socket: OwnedFD, on loop: EventLoop) throws(VhostUserError) {
    guard try InheritedSocket.kind(of: socket) == .listening else {
      throw VhostUserError(.wrongDescriptor, "file descriptor \(socket.rawValue) does not listen")
    }
    do throws(Errno) {
      try StreamSocket.setNonBlocking(socket)
    } catch {
      throw VhostUserError(.system, "the inherited socket cannot be made non-blocking", errno: error)
    }
    self.init(socket: socket, file: nil, loop: loop, accept: Listener.accept)
  }

  private init(socket: OwnedFD, file: SocketFile?, loop: EventLoop, accept: @escaping Accept) {
    self.file = file
    self.loop = loop
    self.accept = accept
    state = LoopBound(State(socket: socket), on: loop)
  }

  /// clinux_accept itself.
  package static let accept: Accept = { clinux_accept($0) }

  package var waitingFor: String { "no front-end is connected" }

  /// Begins to accept.
  ///
  /// - Parameters:
  ///   - onConnection: Called with each connected socket, non-blocking.
  ///   - onError: Called when no connection can be accepted; once until it works again.
  ///   - onChange: Not called: what is waited for stays the same.
  package func start(
    onConnection: @escaping ConnectionHandler, onError: @escaping ErrorHandler,
    onChange: @escaping @Sendable () -> Void = {}
  ) throws(VhostUserError) {
    state.value.onConnection = onConnection
    state.value.onError = onError
    do throws(Errno) {
      try watch()
    } catch {
      throw VhostUserError(.system, "the listening socket cannot be watched", errno: error)
    }
  }

  /// Others are accepted all the time.
  package func connectionEnded(wasReady: Bool) {}

  /// Accepts no more, closes the socket and removes its file if that is still its own.
  package func stop() {
    guard state.value.socket != nil else { return }
    unwatch()
    // The file first: who still finds it gets an answer.
    file?.remove()
    state.value = State()
  }

  private func watch() throws(Errno) {
    guard let socket = state.value.socket, state.value.registration == nil else { return }
    state.value.registration = try loop.watch(socket, .readable) { [self] _ in acceptWaiting() }
  }

  private func unwatch() {
    if let registration = state.value.registration { loop.cancel(registration) }
    state.value.registration = nil
  }

  private func acceptWaiting() {
    for _ in 0..<Listener.acceptsPerWake {
      guard let socket = state.value.socket, let onConnection = state.value.onConnection else { return }
      let result = accept(socket.rawValue)
      if result >= 0 {
        state.value.isShort = false
        onConnection(OwnedFD(adopting: FileDescriptor(rawValue: result)))
        continue
      }
      switch Errno(rawValue: -result) {
      case .wouldBlock: return
      // That client has gone again; others may wait.
      case .connectionAbort: continue
      case let error: return backOff(error)
      }
    }
  }

  /// The client stays in the queue, so the socket stays readable: look away for a while instead of spinning.
  private func backOff(_ error: Errno) {
    unwatch()
    loop.run(after: Listener.pause) { [weak self] in self?.resume() }
    guard !state.value.isShort else { return }
    state.value.isShort = true
    state.value.onError?(
      VhostUserError(
        .system, "a connection cannot be accepted; allow this process more open files if it has too few", errno: error))
  }

  private func resume() {
    do throws(Errno) {
      try watch()
    } catch {
      loop.run(after: Listener.pause) { [weak self] in self?.resume() }
    }
  }
}

extension Listener: ConnectionSource {}
