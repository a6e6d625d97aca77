internal import VDPA

/// How the threads that serve queues run.
public struct WorkerConfiguration: Sendable, Hashable {
  /// What a worker does when its queues are empty.
  public enum Mode: String, Sendable, Hashable, CaseIterable {
    /// Looks again: lowest latency, all of a CPU.
    case poll
    /// Looks again for a while, with growing pauses, and then sleeps until a guest kicks: low latency as long as there is
    /// something to do, no CPU while idle.
    case adaptive
    /// Sleeps until a guest kicks: no CPU while idle.
    case event
  }

  /// What a worker does when its queues are empty.
  public var mode: Mode
  /// The CPUs that workers are pinned to, one worker each; empty for workers that are not pinned.
  public var cpus: [Int]
  /// How many workers there are if none is pinned, 1 to 1024.
  public var count: Int

  /// How long an adaptive worker looks for something to do before it sleeps, in microseconds: about as long as it takes to
  /// be woken, so that neither way it loses more than twice that. From 0, to sleep at once, to ``longestIdleTime``.
  public var idleTime: Int
  /// What ``idleTime`` is unless said otherwise.
  public static let usualIdleTime = 50
  /// The longest ``idleTime``: a second.
  public static let longestIdleTime = 1_000_000

  /// A configuration; one event-driven worker unless said otherwise.
  public init(mode: Mode = .event, cpus: [Int] = [], count: Int = 1, idleTime: Int = usualIdleTime) {
    self.mode = mode
    self.cpus = cpus
    self.count = count
    self.idleTime = idleTime
  }

  /// Rejects CPUs that this process may not run on, CPUs named twice, and numbers out of their ranges.
  func validate() throws(DatapathError) {
    guard (1...1024).contains(count) else {
      throw DatapathError(.badConfiguration, "\(count) workers; there are 1 to 1024")
    }
    guard (0...WorkerConfiguration.longestIdleTime).contains(idleTime) else {
      throw DatapathError(
        .badConfiguration,
        "a worker cannot look for \(idleTime) microseconds before it sleeps; that is 0 to "
          + "\(WorkerConfiguration.longestIdleTime)")
    }
    let allowed = PinnedThread.allowedCPUs
    for (i, cpu) in cpus.enumerated() {
      guard allowed.contains(cpu) else {
        let list = allowed.map(String.init).joined(separator: ", ")
        throw DatapathError(.badConfiguration, "CPU \(cpu) is not one that this process may use; it may use \(list)")
      }
      guard !cpus[..<i].contains(cpu) else {
        throw DatapathError(.badConfiguration, "CPU \(cpu) is named twice; each CPU gets one worker")
      }
    }
  }
}
