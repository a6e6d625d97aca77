public import VDPA

/// Brings simulator engines up: net devices without hardware behind the same protocols as hardware.
///
/// The address is `virtual`. Parameters: `devices` (1–64, default 1), `queues` (pairs a device, 1–128, default 4),
/// `ring-size` (largest ring, a power of two up to 32768, default 256), `translation` (`platform` or `on-chip`, default
/// on-chip), `traffic` (`loopback`, `sink` or `source`, default loopback), `source-length` (bytes a packet of `source`,
/// 14–65550, default 64).
public struct SimulatorDriver: EngineDriver {
  /// The name that the driver is registered under: `simulator`.
  public let name = "simulator"

  private let started: (@Sendable (SimulatorEngine) -> Void)?

  /// A driver.
  ///
  /// - Parameter started: Called with each engine that was started, on the thread that adds it, before it can be claimed
  ///   from; for those who want to reach into the simulation.
  public init(started: (@Sendable (SimulatorEngine) -> Void)? = nil) {
    self.started = started
  }

  /// Starts an engine.
  ///
  /// - Throws: ``SimulatorError`` `badAddress`, `badParameter` or `noResources`; `VDPAError` `badParameter`.
  public func start(at address: EngineAddress) throws -> any Engine {
    guard address.text == "virtual" else {
      throw SimulatorError(
        .badAddress, "the simulator has no hardware, so its address is \"virtual\", not \"\(address.text)\"")
    }
    let engine = try SimulatorEngine(SimulatorSettings(address.parameters))
    started?(engine)
    return engine
  }
}
