/// What a worker has done since it was started (``SoftwareEngine/workerStatistics``).
///
/// Cycles are of a clock with a constant rate, the time stamp counter where there is one: what counts is how they relate
/// to each other, and their growth from one look to the next.
public struct WorkerStatistics: Sendable, Hashable {
  /// What the thread is called.
  public let name: String
  /// What it does when its queues are empty, at the moment.
  public let mode: WorkerConfiguration.Mode
  /// The CPU that it is pinned to; nil for none.
  public let cpu: Int?
  /// How many queues (net: queue pairs) it serves at the moment.
  public let queues: Int
  /// How often it has turned to a queue.
  public let turns: UInt64
  /// In how many of these turns there was something to do.
  public let busyTurns: UInt64
  /// Cycles of turns in which there was something to do.
  public let busyCycles: UInt64
  /// Cycles in which it looked for something to do and found nothing, its pauses included.
  public let idleCycles: UInt64
  /// Cycles in which it slept until it was woken.
  public let asleepCycles: UInt64
  /// How often it went to sleep.
  public let sleeps: UInt64

  /// The share of the time since `earlier` in which there was something to do, from 0 to 1.
  ///
  /// - Parameter earlier: What was read of the same worker before; nil for its start.
  public func load(since earlier: WorkerStatistics? = nil) -> Double { share(busyCycles, earlier) { $0.busyCycles } }

  /// The share of the time since `earlier` in which it slept, from 0 to 1.
  public func asleep(since earlier: WorkerStatistics? = nil) -> Double {
    share(asleepCycles, earlier) { $0.asleepCycles }
  }

  private func share(
    _ cycles: UInt64, _ earlier: WorkerStatistics?, _ before: (WorkerStatistics) -> UInt64
  ) -> Double {
    // The three are not read at the same moment, so that a sum may seem to have shrunk.
    func total(_ statistics: WorkerStatistics) -> UInt64 {
      statistics.busyCycles &+ statistics.idleCycles &+ statistics.asleepCycles
    }
    let all = total(self) &- (earlier.map(total) ?? 0)
    let part = cycles &- (earlier.map(before) ?? 0)
    guard Int64(bitPattern: all) > 0, Int64(bitPattern: part) > 0 else { return 0 }
    return min(Double(part) / Double(all), 1)
  }
}
