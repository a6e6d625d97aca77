import Datapath
import Foundation
import Synchronization
import Virtio

/// One direction of the cable, with its thread.
final class Direction: Sendable {
  private let source: NetQueue
  private let target: NetQueue
  private let pool: PacketPool
  private let isPolling: Bool
  private let isOver = Atomic<Bool>(false)
  private let ended = DispatchSemaphore(value: 0)
  private let lost = Atomic<Int>(0)

  init(from source: NetQueue, to target: NetQueue, pool: PacketPool, isPolling: Bool) {
    self.source = source
    self.target = target
    self.pool = pool
    self.isPolling = isPolling
  }

  /// How many packets the other end had no buffers for.
  var dropped: Int { lost.load(ordering: .relaxed) }

  func start() {
    Thread.detachNewThread { [self] in
      forward()
      ended.signal()
    }
  }

  /// Ends the thread and waits for it.
  func stop() {
    isOver.store(true, ordering: .relaxed)
    ended.wait()
  }

  /// Front-ends come and go meanwhile; without one, a burst does nothing and a wait lasts.
  private func forward() {
    let burst = PacketBurst(pool)
    while !isOver.load(ordering: .relaxed) {
      source.dequeueBurst(into: burst)
      target.enqueueBurst(from: burst)
      if burst.count == 0 {
        if !isPolling { source.wait(milliseconds: 100) }
      } else {
        // A cable does not wait: what the other end has no buffers for is lost.
        lost.add(burst.count, ordering: .relaxed)
        burst.clear()
      }
    }
  }
}
