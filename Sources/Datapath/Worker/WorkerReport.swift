/// What is told of the threads that serve queues.
public enum WorkerReport: Sendable, Hashable, CustomStringConvertible {
  /// A worker has been with one of its clients for that many seconds; all others of that worker wait.
  case stuck(worker: String, client: String, seconds: Int)
  /// A worker that was reported stuck has come back from that client, after that many seconds or a little more.
  case goesOn(worker: String, client: String, seconds: Int)

  /// What has happened, to whom, and what to do.
  public var description: String {
    switch self {
    case .stuck(let worker, let client, let seconds):
      "\(worker) is stuck in \(client) for \(seconds) s, and whatever else it serves waits; end that front-end if it does "
        + "not go on: its memory may be on a disk or in the hands of a process, or others have the CPU"
    case .goesOn(let worker, let client, let seconds):
      "\(worker) goes on after \(seconds) s in \(client)"
    }
  }
}
