internal import CLinux

/// The words by which a ``BurstOwnership`` is taken, left and closed; it lives as long as that.
@safe struct OwnershipWords: Sendable {
  // The word that a side writes is on a cache line of its own: [0] in a burst, [16] closed, [17] how often it was closed.
  // Every access is atomic.
  nonisolated(unsafe) private let words: UnsafeMutablePointer<UInt32>
  // A copy: asking a lazy global costs a call.
  private let isAsymmetric = ProcessBarrier.isAsymmetric

  /// Words of a state that nobody works on.
  init() {
    unsafe words = .allocate(capacity: 32)
    unsafe words.initialize(repeating: 0, count: 32)
  }

  func deallocate() { unsafe words.deallocate() }

  // MARK: Whoever works on the state

  /// Takes it, by the one thread that does; false when it is closed.
  @inline(__always) func enter() -> Bool {
    unsafe clinux_store_u32(words, 1)
    ProcessBarrier.light(isAsymmetric)
    guard unsafe clinux_load_acquire_u32(words + 16) == 0 else {
      leave()
      return false
    }
    return true
  }

  /// Takes it, by any thread; nil when another one has it, false when it is closed.
  @inline(__always) func tryToEnter() -> Bool? {
    guard unsafe clinux_exchange_u32(words, 1) == 0 else { return nil }
    guard unsafe clinux_load_acquire_u32(words + 16) == 0 else {
      leave()
      return false
    }
    return true
  }

  @inline(__always) func leave() {
    unsafe clinux_store_release_u32(words, 0)
    ProcessBarrier.light(isAsymmetric)
    if unsafe clinux_load_u32(words + 16) != 0 { _ = unsafe clinux_futex_wake(words, 1) }
  }

  /// How often it was closed; wraps.
  @inline(__always) var closings: UInt32 { unsafe clinux_load_u32(words + 17) }

  // MARK: Whoever changes the state

  func close() {
    unsafe clinux_store_u32(words + 17, closings &+ 1)
    unsafe clinux_store_u32(words + 16, 1)
    ProcessBarrier.heavy()
  }

  func open() { unsafe clinux_store_release_u32(words + 16, 0) }

  /// Whether somebody works on it.
  var isTaken: Bool { unsafe clinux_load_acquire_u32(words) != 0 }

  /// Sleeps until nobody does, or the time has passed, or for no reason.
  func waitUntilLeft(nanoseconds: Int64) { _ = unsafe clinux_futex_wait(words, 1, nanoseconds) }
}
