internal import VDPA

/// File operations by threads that may block on them.
final class ThreadIO: BlockIO, @unchecked Sendable {
  let depth: Int
  private let threads: BlockThreads
  private let completions: BlockCompletions

  /// What the one thread uses that uses this object at a time.
  private struct Own: ~Copyable {
    var prepared: [BlockOperation] = []
    var done: [BlockCompletion] = []
    var underWay = 0
  }

  private let own = Unshared(Own())

  var wakeup: OwnedFD { completions.wakeup }

  /// Operations of one queue on threads that other queues may use too.
  init(_ threads: BlockThreads, depth: Int, wakeup: OwnedFD) {
    self.threads = threads
    self.depth = depth
    completions = BlockCompletions(wakeup: wakeup)
  }

  deinit { drain() }

  var underWay: Int { own.value.underWay }

  func prepare(_ operation: BlockOperation) { own.value.prepared.append(operation) }

  func submit() -> Bool {
    if own.value.prepared.isEmpty { return true }
    own.value.underWay += own.value.prepared.count
    threads.run(own.value.prepared, completions)
    own.value.prepared.removeAll(keepingCapacity: true)
    return true
  }

  func wantWakeups(_ wanted: Bool) { completions.wantWakeups(wanted) }

  func reap(_ body: (BlockCompletion) -> Void) -> Int {
    if own.value.underWay == 0 { return 0 }
    completions.take(into: &own.value.done)
    let count = own.value.done.count
    own.value.underWay -= count
    for i in 0..<count { body(own.value.done[i]) }
    if count > 0 { own.value.done.removeAll(keepingCapacity: true) }
    return count
  }

  func drain() {
    while own.value.underWay > 0 {
      if reap({ _ in }) == 0 { completions.wait() }
    }
  }
}
