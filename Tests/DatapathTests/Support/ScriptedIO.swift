import Synchronization
import VDPA

@testable import Datapath

/// File operations that end as a test wants, or as another implementation ends them, and when a test wants. Everything
/// but what the protocol demands may be called from any thread.
final class ScriptedIO: BlockIO {
  private struct State {
    var operations: [BlockOperation] = []
    var results: [Int] = []
    var holds: @Sendable (BlockOperation) -> Bool = { _ in false }
    var held: [BlockOperation] = []
    /// Those that were let go of and have not been begun.
    var released: [BlockOperation] = []
    var done: [BlockCompletion] = []
    var refusals = 0
    /// Operations prepared since the last submission.
    var prepared = 0
    var batches: [Int] = []
    var wanted: [Bool] = []
  }

  let depth: Int
  let wakeup: OwnedFD
  private let real: (any BlockIO)?
  private let state = Mutex(State())

  init(depth: Int = 64, over real: (any BlockIO)? = nil) throws {
    self.depth = real?.depth ?? depth
    self.real = real
    wakeup = try real?.wakeup ?? EventFD.make()
  }

  // MARK: The script

  /// What has been asked for, in order.
  var operations: [BlockOperation] { state.withLock { $0.operations } }

  /// What the next operations result in, before the real ones are asked; without real ones they then do all of it.
  var results: [Int] {
    get { state.withLock { $0.results } }
    set { state.withLock { $0.results = newValue } }
  }

  /// Keeps operations back until they are let go of.
  func hold(_ which: @escaping @Sendable (BlockOperation) -> Bool) { state.withLock { $0.holds = which } }

  /// How many are kept back.
  var heldCount: Int { state.withLock { $0.held.count } }

  /// Lets those that are kept back go, the newest first.
  func release() {
    state.withLock { state in
      state.released += state.held.reversed()
      state.held = []
    }
    EventFD.signal(wakeup)
  }

  /// Takes no more operations for that many calls of ``submit()``.
  func refuse(times: Int) { state.withLock { $0.refusals = times } }

  /// How many operations there were in each submission that had any.
  var batches: [Int] { state.withLock { $0.batches } }

  /// What was said of wakeups.
  var wanted: [Bool] { state.withLock { $0.wanted } }

  // MARK: The protocol

  func prepare(_ operation: BlockOperation) {
    let isHeld = state.withLock { state in
      state.operations.append(operation)
      state.prepared += 1
      guard state.holds(operation) else { return false }
      state.held.append(operation)
      return true
    }
    if !isHeld { begin(operation) }
  }

  private func begin(_ operation: BlockOperation) {
    let isScripted = state.withLock { state in
      guard real == nil || !state.results.isEmpty else { return false }
      let result = state.results.isEmpty ? operation.memory.length : state.results.removeFirst()
      state.done.append(BlockCompletion(tag: operation.tag, result: result))
      return true
    }
    if isScripted { EventFD.signal(wakeup) } else { real?.prepare(operation) }
  }

  func submit() -> Bool {
    let released = state.withLock { state in
      if state.prepared > 0 { state.batches.append(state.prepared) }
      state.prepared = 0
      defer { state.released = [] }
      return state.released
    }
    for operation in released { begin(operation) }
    let isRefused = state.withLock { state in
      guard state.refusals > 0 else { return false }
      state.refusals -= 1
      return true
    }
    return isRefused ? false : real?.submit() ?? true
  }

  func reap(_ body: (BlockCompletion) -> Void) -> Int {
    let scripted = state.withLock { state in
      defer { state.done = [] }
      return state.done
    }
    for completion in scripted { body(completion) }
    return scripted.count + (real?.reap(body) ?? 0)
  }

  var underWay: Int { real?.underWay ?? 0 }

  func wantWakeups(_ wanted: Bool) {
    state.withLock { $0.wanted.append(wanted) }
    real?.wantWakeups(wanted)
  }

  func drain() { real?.drain() }
}
