import Foundation
import Synchronization
import VDPA

/// Does something when one of several descriptors is kicked for the first time, unless it is called off before.
final class KickWatch: Sendable {
  private let isOver = Mutex(false)

  /// - Parameter body: Called on a thread of its own, under the lock that ``callOff()`` waits for.
  init(_ kicks: [OwnedFD], _ body: @escaping @Sendable () -> Void) {
    Thread.detachNewThread { [self] in
      while !isOver.withLock({ $0 }) {
        var entries = kicks.map { pollfd(fd: $0.rawValue, events: Int16(POLLIN), revents: 0) }
        let count = nfds_t(entries.count)
        guard unsafe poll(&entries, count, 2) > 0 else { continue }
        isOver.withLock { isOver in
          if !isOver { body() }
          isOver = true
        }
      }
    }
  }

  /// Makes sure that nothing is done from now on.
  ///
  /// - Returns: Whether it was not done before.
  func callOff() -> Bool {
    isOver.withLock { isOver in
      defer { isOver = true }
      return !isOver
    }
  }
}
