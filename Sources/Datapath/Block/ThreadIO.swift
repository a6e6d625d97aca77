internal import VDPA

/// File operations by threads that may block on them.
final class ThreadIO: BlockIO, @unchecked Sendable {
  let depth: Int
  private let threads: BlockThreads
  private let completions: BlockCompletions
  // Of the one thread that uses this object at a time.
  private var prepared: [BlockOperation] = []
  private var underWay = 0

  var wakeup: OwnedFD { completions.wakeup }

  /// Operations of one queue on threads that other queues may use too.
  init(_ threads: BlockThreads, depth: Int, wakeup: OwnedFD) {
    self.threads = threads
    self.depth = depth
    completions = BlockCompletions(wakeup: wakeup)
  }

  deinit { drain() }

  func prepare(_ operation: BlockOperation) { prepared.append(operation) }

  func submit() -> Bool {
    if prepared.isEmpty { return true }
    underWay += prepared.count
    threads.run(prepared, completions)
    prepared.removeAll(keepingCapacity: true)
    return true
  }

  func reap(_ body: (BlockCompletion) -> Void) -> Int {
    if underWay == 0 { return 0 }
    let done = completions.take()
    underWay -= done.count
    for completion in done { body(completion) }
    return done.count
  }

  func drain() {
    while underWay > 0 {
      let seen = completions.changes.value
      if reap({ _ in }) == 0 { completions.changes.wait(whileEqualTo: seen, nanoseconds: -1) }
    }
  }
}
