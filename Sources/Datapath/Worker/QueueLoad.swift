/// A queue that a worker serves, and what it costs (``SoftwareEngine/queueLoads``). A queue pair of a net device is one.
public struct QueueLoad: Sendable, Hashable {
  /// What logs and errors call it, such as `vm0.sock queue pair 0`.
  public let name: String
  /// Which worker serves it, by its place in ``SoftwareEngine/workerStatistics``.
  public let worker: Int
  /// Turns in which there was something to do on it, whichever workers had it.
  public let busyTurns: UInt64
  /// What these turns took, in the cycles of ``WorkerStatistics``.
  public let busyCycles: UInt64
}
