import Foundation
import Synchronization

/// What a guest does while the device works.
final class GuestThread: Sendable {
  private let isStopped = Atomic<Bool>(false)
  private let done = DispatchGroup()

  /// A guest that does something once. It has a thread of its own: a dispatch queue runs no more blocks than there are
  /// CPUs, and the tests have those.
  init(once body: @escaping @Sendable () -> Void) {
    done.enter()
    Thread.detachNewThread { [self] in
      body()
      done.leave()
    }
  }

  /// A guest that does something over and over.
  init(_ step: @escaping @Sendable (inout SplitMix) -> Void, seed: UInt64) {
    done.enter()
    Thread.detachNewThread { [self] in
      var random = SplitMix(seed: seed)
      while !isStopped.load(ordering: .relaxed) { step(&random) }
      done.leave()
    }
  }

  /// Returns when the guest has ended.
  func stop() {
    isStopped.store(true, ordering: .relaxed)
    done.wait()
  }
}
