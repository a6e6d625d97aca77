import Datapath
import Foundation
import Logging
import SimulatorEngine
import Synchronization
import VDPA
import VhostUser
import Virtio

/// The back-end: a socket that software serves, and a simulated device that it can be switched to.
final class BackEnd {
  let path: String
  let socket: VhostUserSocket
  let simulator: DeviceHandle
  private let software: SoftwareEngine
  private let registry: Registry
  private let engine: EngineHandle
  private let threads: SessionThreads
  /// The simulation behind the device, which can be told to go wrong.
  private let device: SimulatedDevice

  init(isBlock: Bool, folder: String, latency: Int, order: String, failsOver: Bool) throws {
    software = try SoftwareEngine()
    registry = Registry(software: software)
    let started = Mutex<SimulatorEngine?>(nil)
    try registry.register(SimulatorDriver { engine in started.withLock { $0 = engine } })
    var parameters: Parameters = [
      "devices": "1", "queues": "1", "ring-size": "1024", "latency": "\(latency)", "order": order,
    ]
    var own: Parameters = ["port": "loopback"]
    if isBlock {
      // Both serve the same disk.
      let file = folder + "/disk"
      guard FileManager.default.createFile(atPath: file, contents: nil) else { throw CocoaError(.fileWriteUnknown) }
      try FileHandle(forWritingTo: URL(fileURLWithPath: file)).truncate(atOffset: 16 << 20)
      (parameters["type"], parameters["file"]) = ("block", file)
      own = ["blk-file": file]
    }
    engine = try registry.addEngine(driver: "simulator", at: EngineAddress("virtual", parameters: parameters))
    simulator = DeviceHandle(engine: engine, device: 0)
    guard let device = started.withLock({ $0?.simulatedDevice(0) }) else { throw CocoaError(.featureUnsupported) }
    self.device = device
    threads = try SessionThreads()
    var logger = Logger(label: "live-switch")
    logger.logLevel = failsOver ? .critical : .warning
    path = folder + "/vm0.sock"
    var configuration = SocketConfiguration(
      endpoint: .listen(path: path), type: isBlock ? .block : .net, parameters: own)
    if failsOver { configuration.failover = .software }
    socket = VhostUserSocket(configuration, registry: registry, threads: threads, logger: logger)
    if failsOver { try socket.bind(simulator) } else { try socket.setCandidates([simulator]) }
    try socket.start()
  }

  /// Has the device vanish after some more packets, in the middle of a burst.
  func vanish() throws { try device.inject(.vanishing, afterPackets: 100) }

  /// It is back. Nobody has it then who would not know that it has failed.
  func heal() throws {
    try device.clearFaults()
    // It is given back on a thread that may wait for it.
    while try registry.information(of: simulator).claim != nil { usleep(100) }
  }

  func stop() {
    socket.stop()
    threads.stop()
    try? registry.removeEngine(engine)
    software.stop()
  }
}
