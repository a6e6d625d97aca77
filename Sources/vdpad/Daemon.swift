import Control
import Logging
import Synchronization
import VDPA
import VhostUser

/// What `vdpad run` has: engines, and sockets by name.
///
/// What changes something is called by one thread at a time; what only looks may be called by others meanwhile.
final class Daemon: Sendable {
  struct Entry: Sendable {
    let socket: VhostUserSocket
    /// What front-ends are offered; it does not change once the socket has been started.
    let queues: Int
  }

  let registry: Registry
  private let threads: SessionThreads
  private let logger: Logger
  private let entries = Mutex<[String: Entry]>([:])

  init(_ platform: Platform) {
    (registry, threads, logger) = (platform.registry, platform.threads, platform.logger)
  }

  /// Ends everything: the sockets, then the engines.
  func stop() {
    for entry in sockets { entry.socket.stop() }
    for engine in registry.engines where engine.handle != .software {
      do {
        try registry.removeEngine(engine.handle)
      } catch {
        logger.error("\(error)")
      }
    }
  }

  // MARK: Its sockets

  /// All sockets by name.
  var sockets: [Entry] { entries.withLock { $0.sorted { $0.key < $1.key }.map(\.value) } }

  /// The socket of that name.
  ///
  /// - Throws: `unknownSocket`, with the name that was meant, perhaps.
  func socket(_ name: String) throws(RPCError) -> Entry {
    let (found, names) = entries.withLock { ($0[name], Array($0.keys)) }
    if let found { return found }
    let hint = ClosestName.of(name, in: names).map { "; did you mean \"\($0)\"?" }
    throw .application(
      "unknownSocket", "there is no socket \"\(name)\"" + (hint ?? (names.isEmpty ? "; there is none at all" : "")))
  }

  func add(_ request: SocketMethod.Add) throws -> Entry {
    let settings = try SocketSettings(request)
    for entry in sockets {
      guard entry.socket.configuration.name != request.name else {
        throw RPCError.application(
          "socketExists", "there is a socket \"\(request.name)\" already; remove it or choose another name")
      }
      guard entry.socket.status.path != request.path else {
        throw RPCError.application(
          "pathInUse", "socket \"\(entry.socket.configuration.name)\" has the path \(request.path); choose another one")
      }
    }
    let socket = VhostUserSocket(settings.configuration, registry: registry, threads: threads, logger: logger)
    if let device = settings.device { try socket.bind(handle(device)) }
    if let queues = settings.queues { try socket.setQueueCount(queues) }
    if let candidates = request.candidates { try socket.setCandidates(candidates.map { try handle($0) }) }
    let entry = Entry(socket: socket, queues: try socket.queueCount)
    try socket.start()
    entries.withLock { $0[request.name] = entry }
    return entry
  }

  func remove(_ name: String) throws {
    // It is there, and can be looked at, until it has ended.
    try socket(name).socket.stop()
    entries.withLock { $0[name] = nil }
  }

  /// Has a device serve a socket.
  func bind(_ name: String, to device: DeviceNumbers) throws -> Entry {
    let entry = try socket(name)
    try entry.socket.bind(try handle(device))
    return entry
  }

  func unbind(_ name: String) throws -> Entry {
    let entry = try socket(name)
    try entry.socket.unbind()
    return entry
  }

  func handle(_ device: DeviceNumbers) throws(VDPAError) -> DeviceHandle {
    try registry.device(engine: device.engine, device: device.device)
  }
}
