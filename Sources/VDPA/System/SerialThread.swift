internal import Synchronization

/// Runs jobs one after the other on a thread of its own, which is made at the first job and ends with `finish`.
final class SerialThread: Sendable {
  private struct State {
    var jobs: [@Sendable () -> Void] = []
    var isFinishing = false
    var thread: PinnedThread?
  }

  private let name: String
  private let state = Mutex(State())
  private let signal = FutexWord()

  init(name: String) { self.name = name }

  /// Runs `job` after those before it. Without a thread (the system has none left, or it has ended) it runs on the
  /// caller's.
  func run(_ job: @escaping @Sendable () -> Void) {
    let runsHere = state.withLock { state in
      guard !state.isFinishing else { return true }
      if state.thread == nil {
        state.thread = try? PinnedThread(name: name) { [self] in work() }
      }
      guard state.thread != nil else { return true }
      state.jobs.append(job)
      return false
    }
    if runsHere { job() } else { signal.signal() }
  }

  /// Runs `last` after the jobs before it and ends the thread.
  func finish(_ last: @escaping @Sendable () -> Void) {
    run(last)
    state.withLock { $0.isFinishing = true }
    signal.signal()
  }

  private func work() {
    while true {
      let seen = signal.value
      let (jobs, isFinishing) = state.withLock { state in
        defer { state.jobs = [] }
        return (state.jobs, state.isFinishing)
      }
      for job in jobs { job() }
      guard jobs.isEmpty else { continue }
      if isFinishing { return }
      signal.wait(whileEqualTo: seen, nanoseconds: -1)
    }
  }
}
