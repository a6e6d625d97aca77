public import VDPA

/// Brings simulator engines up: devices without hardware behind the same protocols as hardware.
///
/// The address is `virtual`. Parameters:
///
/// - `type`: `net` or `block`, default net.
/// - `devices`: 1–64, default 1.
/// - `queues`: of a device, 1–128, default 4; pairs for net, rings for block.
/// - `ring-size`: the largest ring, a power of two up to 32768, default 256.
/// - `translation`: `platform` or `on-chip`, default on-chip (``Translation``).
/// - `latency`: microseconds from fetching to completing, 0–1000000, default 0 (``SimulatedDevice/latency``).
/// - `order`: `in` or `out`, default in (``CompletionOrder``); out of order, `VIRTIO_F_IN_ORDER` is not offered.
/// - `seed`: what is shuffled is shuffled by it, default 1.
/// - `dirty-tracking`: `on` or `off`, default on.
/// - `notify-area`: `on` or `off`, default off, for a device whose doorbells were handed out has to look at them up to a
///   thousand times a second even when nobody rings.
/// - `without`: what not to offer, `NAME+NAME`: features by the standard's names, and of what else a device can do
///   `vring-control` (stopping single vrings), `suspension`, `statistics`, `announcement`, `mtu-control`, and `any-start`
///   (starting rings elsewhere than at their beginning).
/// - `traffic` (net): `loopback`, `sink` or `source`, default loopback (``Traffic``).
/// - `source-length` (net): bytes a packet of `source`, 14–65550, default 64.
/// - `capacity` (block): the size of a disk of memory in MiB, 1–1048576, default 64; it takes what is written.
/// - `file` (block): the disk is this file, of all devices of the engine. It is not locked.
/// - `read-only` (block): `on` or `off`, default off.
/// - `serial` (block): what GET_ID answers, up to 20 characters, default `simulated-N` with the device's number.
///
/// Otherwise a device offers what a device of its type in software offers by default, but for postcopy. What can go wrong
/// with it, on command, is ``SimulatedFault``.
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
  /// - Throws: ``SimulatorError`` `badAddress`, `badParameter`, `badFile` or `noResources`; `VDPAError` `badParameter`.
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
