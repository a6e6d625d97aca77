import Synchronization
package import VDPA

/// The threads on which sessions live, shared by the sockets of an application.
public final class SessionThreads: Sendable {
  private let loops: [EventLoop]
  private let next = Mutex(0)

  /// Starts the threads.
  ///
  /// - Parameter count: How many; sockets are spread over them. One serves hundreds of sockets.
  /// - Throws: ``VhostUserError`` `system`, when the process has no thread or descriptor left.
  public init(count: Int = 1) throws(VhostUserError) {
    var loops: [EventLoop] = []
    for i in 0..<max(count, 1) {
      do {
        loops.append(try EventLoop(name: "vdpa-session-\(i)"))
      } catch {
        for loop in loops { loop.stop() }
        throw VhostUserError(.system, "a session thread could not be started", errno: error)
      }
    }
    self.loops = loops
  }

  /// Ends the threads. The sockets have been stopped.
  public func stop() {
    for loop in loops { loop.stop() }
  }

  /// The loop of the next socket.
  package func loop() -> EventLoop {
    next.withLock { next in
      defer { next = (next + 1) % loops.count }
      return loops[next]
    }
  }
}
