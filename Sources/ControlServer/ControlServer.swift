import CLinux
import Control
package import Logging
import NIOCore
import NIOPosix
import SystemPackage
package import VDPA

/// Serves a control socket: JSON-RPC 2.0, an object or a batch in each line, over a Unix socket.
///
/// One thread has all the sockets and never blocks. Requests are read and carried out on two others; those that change
/// something on a third, one after the other.
package final class ControlServer: Sendable {
  /// What a client can make the server keep.
  package struct Limits: Sendable {
    /// The longest line in bytes.
    package var line = 256 << 10
    /// Connections at one time. One more takes the place of the one that has been idle for longest.
    package var connections = 64
    /// How long a client may take for the rest of a line, or to take an answer, in milliseconds.
    package var stall = 10_000

    package init() {}
  }

  private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let desk: RequestDesk
  private let listener: any Channel

  /// Serves from now on.
  ///
  /// - Parameters:
  ///   - methods: What can be called.
  ///   - socket: A Unix socket that listens. The caller keeps it until after ``stop()``, so that its file can go first.
  ///   - access: Who may call.
  ///   - limits: What a client can make the server keep.
  ///   - logger: Where it is said who has changed what.
  /// - Throws: An error that says why the socket cannot be served.
  package init(
    _ methods: MethodTable, on socket: OwnedFD, access: AccessRule, limits: Limits = Limits(), logger: Logger
  ) throws {
    let desk = RequestDesk(
      methods.describingItself(), access: access, limits: limits, logger: logger, on: group.any())
    self.desk = desk
    let copy = clinux_duplicate(socket.rawValue)
    guard copy >= 0 else { throw Errno(rawValue: -copy) }
    listener = try ServerBootstrap(group: group)
      // Who says that no more requests come can still have the answers.
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Connection(at: desk, on: channel.eventLoop))
        }
      }
      .withBoundSocket(copy).wait()
  }

  /// Accepts no more, ends the connections and waits for the request that is being carried out; those that wait for it are
  /// dropped. Called once.
  package func stop() {
    // Both fail only if what they ask for has come about already.
    try? listener.close().wait()
    desk.stop()
    try? group.syncShutdownGracefully()
  }
}
