internal import Synchronization
internal import VDPA

/// Threads that do file operations one by one, for all queues of a block device: what there is where io_uring is not.
///
/// They end when the last who can give them work lets go of this object.
final class BlockThreads: Sendable {
  private struct Job: Sendable {
    var operation: BlockOperation
    var completions: BlockCompletions
  }

  private struct State {
    /// How many threads sleep.
    var sleeping = 0
    var jobs: [Job] = []
    /// The first job that nobody has taken.
    var next = 0
    var isStopping = false
  }

  /// What the threads themselves hold, so that none of them can be the last to hold their owner, whose end waits for
  /// theirs.
  private final class Work: Sendable {
    let file: OwnedFD
    /// Whether completions are told of in batches.
    let isBatched: Bool
    let state = Mutex(State())
    let signal = FutexWord()

    init(file: OwnedFD, isBatched: Bool) {
      self.file = file
      self.isBatched = isBatched
    }

    func run() {
      var isAwake = true
      while true {
        let seen = signal.value
        let (job, isMore, isStopping) = state.withLock { state -> (Job?, Bool, Bool) in
          if !isAwake { state.sleeping -= 1 }
          isAwake = state.next < state.jobs.count
          guard isAwake else {
            state.sleeping += 1
            return (nil, false, state.isStopping)
          }
          let job = state.jobs[state.next]
          state.next += 1
          // Also when there is always something to do.
          if state.next * 2 >= state.jobs.count {
            state.jobs.removeFirst(state.next)
            state.next = 0
          }
          let isMore =
            isBatched && state.next < state.jobs.count && state.jobs[state.next].completions === job.completions
            && state.jobs[state.next].operation.kind.isQuick
          return (job, isMore, false)
        }
        if let job {
          let result = job.operation.perform(on: file)
          job.completions.add(BlockCompletion(tag: job.operation.tag, result: result), isMore: isMore)
        } else if isStopping {
          return
        } else {
          signal.wait(whileEqualTo: seen, nanoseconds: -1)
        }
      }
    }
  }

  private let work: Work
  private let threads: [PinnedThread]

  /// How many operations are done at the same time, unless said otherwise.
  static let usualCount = 8

  /// Starts the threads.
  ///
  /// - Parameters:
  ///   - count: How many operations are done at the same time.
  ///   - file: What they are done on.
  /// - Throws: ``DatapathError`` `system`, when the system has no thread left.
  init(count: Int = BlockThreads.usualCount, file: OwnedFD) throws(DatapathError) {
    // One thread does one operation after the other: those behind one that takes long are late anyway. Of several, one must
    // not keep to itself what it has done while it does the next.
    let work = Work(file: file, isBatched: count == 1)
    var threads: [PinnedThread] = []
    do {
      for i in 0..<count { threads.append(try PinnedThread(name: "vdpa-block-\(i)") { work.run() }) }
    } catch {
      BlockThreads.end(work, threads)
      throw DatapathError(.system, "a thread for the file of a block device could not be started: \(error)")
    }
    self.work = work
    self.threads = threads
  }

  deinit { BlockThreads.end(work, threads) }

  private static func end(_ work: Work, _ threads: [PinnedThread]) {
    work.state.withLock { $0.isStopping = true }
    work.signal.signal()
    for thread in threads { thread.join() }
  }

  /// Does operations; each is added to `completions` when it has ended.
  func run(_ operations: [BlockOperation], _ completions: BlockCompletions) {
    let sleeping = work.state.withLock { state in
      for operation in operations { state.jobs.append(Job(operation: operation, completions: completions)) }
      return state.sleeping
    }
    // One that has been woken and has not come to look yet counts as asleep: better woken twice than not at all.
    for _ in 0..<min(operations.count, sleeping) { work.signal.signalOne() }
  }
}
