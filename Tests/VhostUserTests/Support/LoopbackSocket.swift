import Datapath
import Logging
import SimulatorEngine
import VDPA
import VhostUser
import Virtio

/// A started net socket whose device gives every packet back; another one can follow it at the same path.
final class LoopbackSocket {
  /// Who serves it.
  enum Server: String, CaseIterable, Sendable {
    case software
    case simulator
  }

  let folder: TemporaryFolder
  let socket: VhostUserSocket
  private let software: SoftwareEngine
  private let registry: Registry
  private let engine: EngineHandle
  private let threads: SessionThreads

  var path: String { folder.path("s") }

  /// The simulated device.
  var simulator: DeviceHandle { DeviceHandle(engine: engine, device: 0) }

  init(
    _ server: Server = .software, queues: Int = 1, in folder: TemporaryFolder = TemporaryFolder(),
    without features: Features = [], _ protocolFeatures: ProtocolFeatures = [], candidates: [Server] = [],
    devices: Int = 1
  ) throws {
    self.folder = folder
    software = try SoftwareEngine()
    registry = Registry(software: software)
    try registry.register(SimulatorDriver())
    engine = try registry.addEngine(
      driver: "simulator",
      at: EngineAddress(
        "virtual", parameters: ["devices": "\(devices)", "queues": "4", "traffic": "loopback", "ring-size": "1024"]))
    threads = try SessionThreads()
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let parameters: Parameters = server == .software || candidates.contains(.software) ? ["port": "loopback"] : [:]
    socket = VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: folder.path("s")), parameters: parameters), registry: registry,
      threads: threads, logger: logger)
    if server == .simulator { try socket.bind(simulator) }
    try socket.setQueueCount(queues)
    try socket.setCandidates(candidates.map { $0 == .software ? .software : simulator })
    try socket.disableFeatures(features)
    try socket.disableProtocolFeatures(protocolFeatures)
    try socket.start()
  }

  deinit {
    socket.stop()
    try? socket.unbind()
    try? registry.removeEngine(engine)
    threads.stop()
    software.stop()
  }
}
