internal import VDPA

/// How the threads that serve queues run.
public struct WorkerConfiguration: Sendable, Hashable {
  /// What a worker does when its queues are empty.
  public enum Mode: String, Sendable, Hashable, CaseIterable {
    /// Looks again: lowest latency, all of a CPU.
    case poll
    /// Sleeps until a guest kicks: no CPU while idle.
    case event
  }

  /// What a worker does when its queues are empty.
  public var mode: Mode
  /// The CPUs that workers are pinned to, one worker each; empty for one worker that is not pinned.
  public var cpus: [Int]

  /// A configuration; one event-driven worker unless said otherwise.
  public init(mode: Mode = .event, cpus: [Int] = []) {
    self.mode = mode
    self.cpus = cpus
  }

  /// Rejects CPUs that this process may not run on, and CPUs named twice.
  func validate() throws(DatapathError) {
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
