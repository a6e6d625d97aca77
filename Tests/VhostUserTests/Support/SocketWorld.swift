import Datapath
import Logging
import Synchronization
import Testing
import VDPA
import VhostUser

/// The software engine, a thread for sessions and a folder for sockets, ended with the test.
final class SocketWorld {
  let software: SoftwareEngine
  let registry: Registry
  let threads: SessionThreads
  let folder = TemporaryFolder()

  init() throws {
    software = try SoftwareEngine()
    registry = Registry(software: software)
    threads = try SessionThreads()
  }

  deinit {
    threads.stop()
    software.stop()
  }

  func socket(_ endpoint: SocketConfiguration.Endpoint) -> VhostUserSocket {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return VhostUserSocket(
      SocketConfiguration(endpoint: endpoint), registry: registry, threads: threads, logger: logger)
  }

  /// A socket that listens in the folder, started.
  func listening(_ name: String = "vm0.sock") throws -> VhostUserSocket {
    let socket = socket(.listen(path: folder.path(name)))
    try socket.start()
    return socket
  }
}

/// Remembers how a socket's connections came and went.
final class ConnectionRecorder: VhostUserSocketDelegate {
  private let recorded = Mutex<(connected: Int, refused: Int, ends: [VhostUserError])>((0, 0, []))

  var connected: Int { recorded.withLock { $0.connected } }
  var refused: Int { recorded.withLock { $0.refused } }
  var ends: [VhostUserError] { recorded.withLock { $0.ends } }

  func socket(_ socket: VhostUserSocket, event: SocketEvent) {
    recorded.withLock { recorded in
      switch event {
      case .connected: recorded.connected += 1
      case .connectionRefused: recorded.refused += 1
      case .disconnected(let reason): recorded.ends.append(reason)
      default: break
      }
    }
  }
}

/// Waits, up to ten seconds.
func waits(_ condition: () -> Bool) async throws {
  let deadline = ContinuousClock.now + .seconds(10)
  while !condition() {
    try #require(ContinuousClock.now < deadline)
    try await Task.sleep(for: .milliseconds(2))
  }
}
