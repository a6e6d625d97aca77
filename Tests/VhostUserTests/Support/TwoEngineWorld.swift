import Datapath
import Logging
import SimulatorEngine
import VDPA
import VhostUser
import Virtio

/// Both engines and the threads of a test, ended with it.
final class TwoEngineWorld {
  let registry: Registry
  let engine: EngineHandle
  let threads: SessionThreads
  let software: SoftwareEngine
  let folder = TemporaryFolder()

  init(_ parameters: Parameters = ["devices": "2", "queues": "2"]) throws {
    software = try SoftwareEngine()
    registry = Registry(software: software)
    try registry.register(SimulatorDriver())
    engine = try registry.addEngine(driver: "simulator", at: EngineAddress("virtual", parameters: parameters))
    threads = try SessionThreads()
  }

  deinit {
    threads.stop()
    try? registry.removeEngine(engine)
    software.stop()
  }

  func socket(_ name: String = "vm0.sock", type: DeviceType = .net, _ parameters: Parameters = [:]) -> VhostUserSocket {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: folder.path(name)), type: type, parameters: parameters),
      registry: registry, threads: threads, logger: logger)
  }

  func device(_ number: Int) -> DeviceHandle { DeviceHandle(engine: engine, device: number) }
}
