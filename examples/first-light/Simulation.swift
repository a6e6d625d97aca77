import SimulatorEngine
import Synchronization
import VDPA

/// The simulated hardware itself, beside the framework that drives it: what it says does not pass through a socket.
final class Simulation: Sendable {
  private let engines = Mutex<[SimulatorEngine]>([])

  /// Remembers an engine that was started.
  func add(_ engine: SimulatorEngine) { engines.withLock { $0.append(engine) } }

  /// The counters of all vrings of all devices.
  var statistics: [VringStatistics] {
    engines.withLock { $0 }.flatMap { engine in
      (0..<engine.attributes.deviceCount).flatMap { engine.simulatedDevice($0)?.statistics ?? [] }
    }
  }
}
