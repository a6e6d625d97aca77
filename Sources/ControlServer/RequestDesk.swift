import Control
import Logging
import NIOCore
import NIOPosix

/// What the connections of a server share: the methods, the threads that carry requests out, and each other.
final class RequestDesk: Sendable {
  let access: AccessRule
  let limits: ControlServer.Limits
  let logger: Logger
  private let methods: MethodTable
  private let readers = NIOThreadPool(numberOfThreads: 2)
  private let changes = NIOThreadPool(numberOfThreads: 1)
  /// Those that are open, on the loop that all of them are on.
  private let connections: NIOLoopBoundBox<[ObjectIdentifier: Connection]>

  init(
    _ methods: MethodTable, access: AccessRule, limits: ControlServer.Limits, logger: Logger, on loop: any EventLoop
  ) {
    (self.methods, self.access, self.limits, self.logger) = (methods, access, limits, logger)
    connections = .makeBoxSendingValue([:], eventLoop: loop)
    readers.start()
    changes.start()
  }

  /// Ends all connections and the threads.
  func stop() {
    let connections = connections
    try? connections.eventLoop.submit { for connection in connections.value.values { connection.close() } }.wait()
    try? readers.syncShutdownGracefully()
    try? changes.syncShutdownGracefully()
  }

  // MARK: On the loop

  /// Takes a connection in, if need be in the place of the one that has been idle for longest.
  ///
  /// - Throws: ``RPCError``, when there are too many and none is idle.
  func enter(_ connection: Connection) throws(RPCError) {
    if connections.value.count >= limits.connections {
      let idle = connections.value.values.filter(\.isIdle).min { $0.lastUsed < $1.lastUsed }
      guard let idle else {
        throw .refused("tooManyConnections", "\(limits.connections) clients are busy; try again later")
      }
      idle.close()
    }
    connections.value[ObjectIdentifier(connection)] = connection
  }

  func leave(_ connection: Connection) { connections.value[ObjectIdentifier(connection)] = nil }

  // MARK: On other threads

  /// Finds out whether a peer may be here.
  func check(_ peer: Peer, then: @escaping @Sendable (Bool) -> Void) {
    readers.submit { [self] state in
      if state == .active { then(access.admits(peer)) }
    }
  }

  /// Carries a line out; `then` is called with the answer, if there is one, unless the server is being stopped.
  func work(_ line: [UInt8], for peer: Peer, then: @escaping @Sendable ([UInt8]?) -> Void) {
    readers.submit { [self] state in
      guard state == .active else { return }
      let request = RequestLine(line, methods)
      guard request.isChange else { return then(request.run { _, _ in }) }
      changes.submit { [self] state in
        guard state == .active else { return }
        then(
          request.run { change, error in
            if let error {
              logger.warning("\(peer): \(change) failed: \(error)")
            } else {
              logger.info("\(peer): \(change)")
            }
          })
      }
    }
  }
}
