internal import Synchronization

/// Runs jobs one after the other on a thread of its own, which is made at the first job and ends with `finish`.
final class SerialThread: Sendable {
  private struct State {
    var jobs: [@Sendable () -> Void] = []
    /// Whether the thread has been started.
    var isRunning = false
    /// Whether the last job has been handed over: the thread ends when nothing is left to do.
    var isFinishing = false
  }

  private let name: String
  private let state = Mutex(State())
  private let signal = FutexWord()

  init(name: String) { self.name = name }

  /// Runs `job` after those before it: also after the last one, and also when the thread has ended, in its turn.
  func run(_ job: @escaping @Sendable () -> Void) { add(job, isLast: false) }

  /// Runs `last` after the jobs before it and ends the thread.
  func finish(_ last: @escaping @Sendable () -> Void) { add(last, isLast: true) }

  private func add(_ job: @escaping @Sendable () -> Void, isLast: Bool) {
    let needsThread = state.withLock { state in
      state.jobs.append(job)
      state.isFinishing = state.isFinishing || isLast
      defer { state.isRunning = true }
      return !state.isRunning
    }
    signal.signal()
    guard needsThread, (try? PinnedThread(name: name, body: { [self] in work() })) == nil else { return }
    // The system has no thread left: the caller's does what there is to do.
    repeat { drain() } while !endIfIdle { _ in true }
  }

  /// Ends running, if nothing is left to do and `isOver` agrees; whoever comes later starts anew.
  private func endIfIdle(_ isOver: (State) -> Bool) -> Bool {
    state.withLock { state in
      guard state.jobs.isEmpty, isOver(state) else { return false }
      state.isRunning = false
      return true
    }
  }

  private func work() {
    while true {
      let seen = signal.value
      drain()
      if endIfIdle(\.isFinishing) { return }
      signal.wait(whileEqualTo: seen, nanoseconds: -1)
    }
  }

  /// Runs the jobs that are there.
  private func drain() {
    while true {
      let jobs = state.withLock { state in
        defer { state.jobs = [] }
        return state.jobs
      }
      if jobs.isEmpty { return }
      for job in jobs { job() }
    }
  }
}
