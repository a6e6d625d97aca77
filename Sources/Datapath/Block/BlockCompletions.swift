internal import Synchronization
internal import VDPA

/// Operations that threads have done, for the queue that wanted them.
final class BlockCompletions: Sendable {
  private let done: Mutex<[BlockCompletion]> = Mutex([])
  /// Counted up with each of them.
  let wakeup: OwnedFD
  /// Changed with each of them, for whoever sleeps until there is one.
  let changes = FutexWord()

  init(wakeup: OwnedFD) { self.wakeup = wakeup }

  /// Adds one and wakes whoever waits for it.
  func add(_ completion: BlockCompletion) {
    done.withLock { $0.append(completion) }
    changes.signal()
    EventFD.signal(wakeup)
  }

  /// Takes all that are there.
  func take() -> [BlockCompletion] {
    done.withLock { done in
      if done.isEmpty { return [] }
      defer { done.removeAll(keepingCapacity: true) }
      return done
    }
  }
}
