public import VDPA
public import Virtio

/// A simulated device as its hardware: what it can reach, what it has counted, and what goes wrong with it.
///
/// It is there as long as its engine, whether somebody has claimed it or not, and may be used from any thread.
///
/// ```swift
/// try device.inject(.failure(of: .configure), once: true)
/// try device.inject(.vanishing, afterPackets: 1000)
/// try device.clearFaults()
/// ```
public final class SimulatedDevice: Sendable {
  let parts: DeviceParts
  let thread: DeviceThread

  init(_ parts: DeviceParts) throws(SimulatorError) {
    self.parts = parts
    thread = try DeviceThread(name: parts.name) { epoll in RingServer(parts, epoll: epoll) }
  }

  deinit { thread.stop() }

  /// The device's number within its engine.
  public var index: Int { parts.index }
  /// The name of the thread that the device runs on.
  public var threadName: String { parts.name }
  /// What the device can reach of guest memory.
  public var dmaMap: DMAMap { parts.dmaMap }
  /// The counters of each vring, by index, since the device was claimed.
  public var statistics: [VringStatistics] { parts.board.all }
  /// The guests that the device was asked to announce (`GuestAnnouncement`), the first one first; the newest thousand.
  public var announcements: [MACAddress] { parts.dials.announced }

  /// How long a packet or request takes from being fetched to being completed, in microseconds, from 0 to 1 000 000; what is
  /// beyond that is taken for the end of it. Out of order it may take up to twice as long. What is in flight keeps what it has.
  public var latency: Int {
    get { parts.dials.latency }
    set { parts.dials.latency = newValue }
  }

  /// How many chains the device has fetched and not returned, of all vrings.
  ///
  /// - Throws: ``SimulatorError`` `stopped` or `deadlineMissed`.
  public var inFlight: Int {
    get throws { try thread.perform("inFlight") { server in server.queues.reduce(0) { $0 + $1.inFlight } } }
  }

  // MARK: Faults

  /// Has something go wrong. When this returns, it holds: a device that stalls has left its rings, one that vanishes writes
  /// nothing any more. Faults stay when the device is given back.
  ///
  /// - Parameters:
  ///   - fault: What. Several may be there at the same time; the same one is replaced.
  ///   - isOnce: Whether it goes when it has happened, for what happens by being asked for: operations, a used entry, a write.
  ///     A stall, a vanishing and a refusal to stop last.
  ///   - packets: How many packets or requests the device completes before; then it may come in the middle of a burst. A
  ///     packet that is given back counts when the guest has it.
  /// - Throws: ``SimulatorError`` `stopped` or `deadlineMissed`.
  public func inject(_ fault: SimulatedFault, once isOnce: Bool = false, afterPackets packets: Int = 0) throws {
    parts.faults.arm(fault, once: isOnce, afterPackets: packets)
    try settle()
  }

  /// Takes a fault back. A device that had vanished is there again, as one that was never configured.
  ///
  /// - Throws: ``SimulatorError`` `stopped` or `deadlineMissed`.
  public func clear(_ fault: SimulatedFault) throws {
    parts.faults.disarm { $0 == fault }
    try settle()
  }

  /// Takes all faults back.
  ///
  /// - Throws: ``SimulatorError`` `stopped` or `deadlineMissed`.
  public func clearFaults() throws {
    parts.faults.disarm { _ in true }
    try settle()
  }

  private func settle() throws {
    try thread.perform("fault") { $0.lookForVanishing() }
  }

  // MARK: For the engine

  /// Puts the device into the state of one that nobody has claimed.
  ///
  /// - Throws: ``SimulatorError`` `vanished`, `stopped` or `deadlineMissed`.
  func reset() throws {
    guard !parts.faults.isActive(.vanishing) else { throw parts.faults.vanished(.configure) }
    try thread.perform("reset") { $0.reset() }
  }

  /// Ends the device's thread and waits for it.
  func stop() { thread.stop() }
}
