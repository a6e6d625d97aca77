public import VDPA

/// A simulated device as its hardware: what it can reach, what it has counted, and the switch that stops it.
///
/// It is there as long as its engine, whether somebody has claimed it or not, and may be used from any thread.
public final class SimulatedDevice: Sendable {
  /// The device's number within its engine.
  public let index: Int
  /// The name of the thread that the device runs on.
  public let threadName: String
  /// What the device can reach of guest memory.
  public let dmaMap: DMAMap

  let board: StatisticsBoard
  let thread: DeviceThread

  init(index: Int, name: String, settings: SimulatorSettings) throws(SimulatorError) {
    self.index = index
    threadName = name
    dmaMap = DMAMap()
    board = StatisticsBoard(vringCount: 2 * settings.queues)
    thread = try DeviceThread(name: name) { [index, dmaMap, board] epoll in
      RingServer(device: index, settings: settings, dmaMap: dmaMap, board: board, epoll: epoll)
    }
  }

  deinit { thread.stop() }

  /// The counters of each vring, by index, since the device was claimed.
  public var statistics: [VringStatistics] { board.all }

  /// Stops the device: it looks at no ring and calls nobody until ``resume()``. Operations are still answered.
  ///
  /// - Throws: ``SimulatorError`` `stopped` or `deadlineMissed`.
  public func pause() throws {
    try thread.perform("pause") { $0.isPaused = true }
  }

  /// Lets the device go on where it was.
  ///
  /// - Throws: ``SimulatorError`` `stopped` or `deadlineMissed`.
  public func resume() throws {
    try thread.perform("resume") { $0.isPaused = false }
  }

  /// Puts the device into the state of one that nobody has claimed.
  func reset() throws {
    try thread.perform("reset") { $0.reset() }
  }

  /// Ends the device's thread and waits for it.
  func stop() { thread.stop() }
}
