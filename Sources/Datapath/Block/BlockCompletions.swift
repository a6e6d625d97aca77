internal import Synchronization
internal import VDPA

/// Operations that threads have done, for the queue that wanted them.
final class BlockCompletions: Sendable {
  private struct State {
    var done: [BlockCompletion] = []
    /// How many of them nobody was woken for.
    var unannounced = 0
    var areWakeupsWanted = true
    /// Whether somebody sleeps until there is one.
    var isAwaited = false
  }

  private let state = Mutex(State())
  /// Counted up for those that whoever sleeps is to look at.
  let wakeup: OwnedFD
  /// Changed with each of them, for whoever has said that it waits.
  private let changes = FutexWord()

  /// The most that are collected before whoever waits for them is woken.
  static let batch = 8

  init(wakeup: OwnedFD) { self.wakeup = wakeup }

  /// Says whether to wake for completions from now on. Those that came before have to be looked for afterwards.
  func wantWakeups(_ wanted: Bool) { state.withLock { $0.areWakeupsWanted = wanted } }

  /// Adds one and wakes whoever waits for it.
  ///
  /// - Parameter isMore: Whether more are about to follow from the same thread, so that one wakeup will do for several.
  func add(_ completion: BlockCompletion, isMore: Bool) {
    let (mustWake, isAwaited) = state.withLock { state in
      state.done.append(completion)
      state.unannounced += 1
      let isDue = !isMore || state.unannounced >= BlockCompletions.batch
      if isDue { state.unannounced = 0 }
      return (isDue && state.areWakeupsWanted, state.isAwaited)
    }
    if isAwaited { changes.signal() }
    if mustWake { EventFD.signal(wakeup) }
  }

  /// Exchanges all that are there for an empty list.
  func take(into list: inout [BlockCompletion]) {
    state.withLock { state in
      if state.done.isEmpty { return }
      swap(&state.done, &list)
    }
  }

  /// Sleeps until there is one.
  func wait() {
    while true {
      let seen = changes.value
      let isThere = state.withLock { state in
        state.isAwaited = state.done.isEmpty
        return !state.isAwaited
      }
      if isThere { return }
      changes.wait(whileEqualTo: seen, nanoseconds: -1)
    }
  }
}
