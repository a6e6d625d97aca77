internal import CLinux

/// A word that threads sleep on until another one changes it (futex(2)).
@safe package final class FutexWord: Sendable {
  // Allocated once and freed with this object; every access is atomic.
  nonisolated(unsafe) private let word: UnsafeMutablePointer<UInt32>

  package init() {
    unsafe word = .allocate(capacity: 1)
    unsafe word.initialize(to: 0)
  }

  deinit {
    unsafe word.deallocate()
  }

  /// The number of changes so far; wraps.
  package var value: UInt32 { unsafe clinux_load_acquire_u32(word) }

  /// Changes the word and wakes everybody who waits.
  package func signal() {
    _ = unsafe clinux_add_u32(word, 1)
    _ = unsafe clinux_futex_wake(word, CInt.max)
  }

  /// Changes the word and wakes one of those who wait, when any of them will do.
  package func signalOne() {
    _ = unsafe clinux_add_u32(word, 1)
    _ = unsafe clinux_futex_wake(word, 1)
  }

  /// Sleeps until the word differs from `seen`, or is changed, or the time has passed, or for no reason.
  ///
  /// - Parameters:
  ///   - seen: The value read before the condition was looked at.
  ///   - nanoseconds: The longest sleep; −1 without end.
  package func wait(whileEqualTo seen: UInt32, nanoseconds: Int64) {
    _ = unsafe clinux_futex_wait(word, seen, nanoseconds)
  }
}
