import Datapath
import Logging
import Peers
import SimulatorEngine
import Synchronization
import Testing
import VDPA
import VhostUser
import Virtio

/// Both engines in this process, a socket that is under test, and one of the other engine that must stay idle.
final class Bench: Sendable {
  private final class Started: Sendable {
    let engine = Mutex<SimulatorEngine?>(nil)
  }

  let software: SoftwareEngine
  /// Device 0 of the simulator engine.
  let simulated: SimulatedDevice
  private let registry: Registry
  private let engine: EngineHandle
  private let threads: SessionThreads
  private let scratch: ScratchDirectory
  /// What has happened on each socket, by its path.
  private let logs = Mutex<[String: EventLog]>([:])

  /// - Parameters:
  ///   - workers: How the software engine's workers run.
  ///   - traffic: What the simulated devices do with packets.
  ///   - length: The bytes of a source's packets.
  ///   - queues: The queue pairs of the simulated devices, at most.
  init(
    workers: WorkerConfiguration = WorkerConfiguration(), traffic: Traffic = .loopback, length: Int = 64,
    queues: Int = 4
  ) throws {
    scratch = try ScratchDirectory("matrix")
    software = try SoftwareEngine(workers: workers)
    registry = Registry(software: software)
    let started = Started()
    try registry.register(SimulatorDriver { engine in started.engine.withLock { $0 = engine } })
    var parameters: Parameters = ["devices": "2", "queues": "\(queues)", "traffic": traffic.rawValue]
    if traffic == .source { parameters["source-length"] = "\(length)" }
    engine = try registry.addEngine(driver: "simulator", at: EngineAddress("virtual", parameters: parameters))
    try #require(engine.id == 0)
    simulated = try #require(started.engine.withLock { $0 }?.simulatedDevice(0))
    threads = try SessionThreads()
  }

  /// A started socket.
  ///
  /// - Parameters:
  ///   - traffic: What software does with packets; a simulated device does what its engine was told.
  ///   - length: The bytes of a source's packets.
  func socket(
    _ serving: ServingEngine, queues: Int = 1, traffic: Traffic = .loopback, length: Int = 64
  ) throws -> VhostUserSocket {
    let port = traffic == .source ? "source=\(length)" : traffic.rawValue
    var logger = Logger(label: "matrix")
    logger.logLevel = .warning
    let socket = VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: scratch.file(serving.rawValue)), parameters: ["port": port]),
      registry: registry, threads: threads, logger: logger)
    if serving == .simulator { try socket.bind(DeviceHandle(engine: engine, device: 0)) }
    try socket.setQueueCount(queues)
    let log = EventLog()
    socket.setDelegate(log)
    logs.withLock { $0[socket.status.path] = log }
    try socket.start()
    return socket
  }

  /// What has happened on a socket.
  func log(of socket: VhostUserSocket) -> EventLog { logs.withLock { $0[socket.status.path] } ?? EventLog() }

  /// Waits until the front-end's messages that enable all rings have been taken in, which it does not wait for itself: what
  /// it sends on a ring before then is dropped. False when that is not so after ten seconds.
  func isRunning(_ socket: VhostUserSocket) -> Bool {
    let log = log(of: socket)
    return becomesTrue { log.running == socket.statistics.count }
  }

  /// Makes an engine's devices stand still.
  func pause(_ serving: ServingEngine) throws {
    if serving == .software { software.pause() } else { try simulated.inject(.stall) }
  }

  /// Lets them go on.
  func resume(_ serving: ServingEngine) throws {
    if serving == .software { software.resume() } else { try simulated.clear(.stall) }
  }

  /// Ends everything.
  func finish(_ sockets: VhostUserSocket...) throws {
    for socket in sockets { socket.stop() }
    try registry.removeEngine(engine)
    threads.stop()
    software.stop()
  }
}
