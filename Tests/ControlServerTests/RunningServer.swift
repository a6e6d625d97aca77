import Control
import Logging
import Peers
import Synchronization
import SystemPackage
import VDPA
import VhostUser

@testable import ControlServer

/// A server in this process, at a socket of its own.
final class RunningServer: Sendable {
  /// What its methods do.
  final class Board: Sendable {
    /// How many changes have begun, and how many have been made.
    let begun = Mutex(0)
    let changes = Mutex(0)
    /// Held by a test that wants changes to wait.
    let gate = Mutex(())
  }

  let path: String
  let board = Board()
  private let scratch: ScratchDirectory
  private let file: SocketFile
  private let socket: OwnedFD
  private let server: Mutex<ControlServer?>

  init(
    mode: UInt32 = 0o660, _ adjust: (inout ControlServer.Limits) -> Void = { _ in }
  ) throws {
    scratch = try ScratchDirectory("control")
    path = scratch.file("sock")
    (socket, file) = try SocketFile.listen(at: path, options: SocketFile.Options(mode: mode))
    var limits = ControlServer.Limits()
    adjust(&limits)
    server = Mutex(nil)
    var methods = MethodTable()
    methods.add(Subtract.self) { $0.minuend - $0.subtrahend }
    methods.add(Fill.self) { String(repeating: "x", count: $0.count) }
    methods.add(Change.self) { [board] _ in
      board.begun.withLock { $0 += 1 }
      board.gate.withLock { _ in }
      return board.changes.withLock { count in
        count += 1
        return count
      }
    }
    var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    logger.logLevel = .trace
    let running = try ControlServer(
      methods, on: socket, access: AccessRule(path: path), limits: limits, logger: logger)
    server.withLock { $0 = running }
  }

  deinit { stop() }

  func stop() {
    let running = server.withLock { server in
      defer { server = nil }
      return server
    }
    guard let running else { return }
    file.remove()
    running.stop()
  }

  func client() throws -> ControlClient { try ControlClient(path: path, patience: 20) }

  /// Whether a new client is served.
  func serves() throws -> Bool { try client().call(Subtract(minuend: 3, subtrahend: 1)) == 2 }
}

extension ControlClient {
  func send(_ text: String) throws { try send(Array(text.utf8)) }

  /// The error of the next answer.
  func error() throws -> RPCError? { try RPCResponse<Int>(json: try receive()).error }

  /// Whether the server closes the connection, after whatever it has said.
  func isClosed() -> Bool {
    do throws(ControlError) {
      while true { _ = try receive() }
    } catch {
      return error.message.contains("closed the connection") || error.errno == .connectionReset
    }
  }
}
