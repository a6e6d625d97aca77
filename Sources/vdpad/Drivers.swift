import SimulatorEngine
import VDPA

/// The engine drivers that this daemon has.
enum Drivers {
  static func register(in registry: Registry) throws {
    try registry.register(SimulatorDriver())
  }
}
