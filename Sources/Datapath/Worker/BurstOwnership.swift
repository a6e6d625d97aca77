internal import Synchronization
internal import VDPA

/// Something that one thread works on in bursts, and that others change between two bursts.
///
/// A worker takes it and leaves it with one store each, without a lock; whoever wants to change it closes it, lets
/// `membarrier(2)` do the ordering that the worker does not pay for, and sleeps until the burst that runs, if one does, has
/// ended. Whoever is outside of a burst is never waited for.
@safe final class BurstOwnership<State>: Sendable {
  private let words = OwnershipWords()
  // Touched by the worker between taking and leaving, and by the others while it is closed and nobody is in a burst.
  // Behind a pointer, because a stored property costs the run time's exclusivity check, which knows nothing of this.
  nonisolated(unsafe) private let state: UnsafeMutablePointer<State>
  private let changing = Mutex(())
  /// How long to wait for a burst to end, in milliseconds.
  private let patience = Atomic<Int>(BurstOwnership.usualPatience)
  private static var usualPatience: Int { 2000 }

  /// Says whether a burst may take as long as pages of memory need to arrive. Whoever brings them decides how long that
  /// is; when they go, nothing is waited for any more.
  func mayTakeLong(_ mayTakeLong: Bool) {
    patience.store(mayTakeLong ? 24 * 3600 * 1000 : BurstOwnership.usualPatience, ordering: .relaxed)
  }

  init(_ state: consuming sending State) {
    unsafe self.state = .allocate(capacity: 1)
    unsafe self.state.initialize(to: state)
  }

  deinit {
    words.deallocate()
    unsafe state.deinitialize(count: 1)
    unsafe state.deallocate()
  }

  /// Works on the state, on the thread of its one worker.
  ///
  /// - Returns: nil when it is closed; then nothing was done.
  @inline(__always) func burst<Result>(_ body: (inout State) -> Result) -> Result? {
    guard words.enter() else { return nil }
    let result = unsafe body(&state.pointee)
    words.leave()
    return result
  }

  /// What has come of an attempt to work on the state.
  enum Attempt<Result> {
    case done(Result)
    /// It is closed; nothing was done.
    case closed
    /// Another thread is at work on it; nothing was done.
    case busy
  }

  /// Works on the state, on any thread; for states that have no worker, whose ``burst(_:)`` would not notice.
  @inline(__always) func attempt<Result>(_ body: (inout State) -> Result) -> Attempt<Result> {
    guard let isOpen = words.tryToEnter() else { return .busy }
    guard isOpen else { return .closed }
    let result = unsafe body(&state.pointee)
    words.leave()
    return .done(result)
  }

  /// How to see that a word in memory of the state is as it was; made in a burst.
  func look(at word: QuietLook.Word) -> QuietLook { QuietLook(words, at: word) }

  /// Works on the state while nobody else does, on a thread that is in no burst.
  ///
  /// - Parameters:
  ///   - name: What the error calls the state.
  ///   - deadline: How long to wait for the burst that runs, in milliseconds; nil for as long as usual.
  /// - Throws: ``DatapathError`` `stuck`, when it has not ended by then. The state then stays closed: whoever is in it
  ///   may still use what it refers to, and nobody enters it until a later change has found it left.
  func exclusively<Result>(
    _ name: @autoclosure () -> String, deadline: Int? = nil, _ body: (inout State) throws -> Result
  ) throws -> Result {
    try changing.withLock { _ in
      words.close()
      let deadline = deadline ?? patience.load(ordering: .relaxed)
      let end = MonotonicClock.nanoseconds &+ UInt64(deadline) &* 1_000_000
      while words.isTaken {
        let now = MonotonicClock.nanoseconds
        guard now < end else {
          throw DatapathError(
            .stuck, "\(name()): whoever serves it has not left it for \(deadline) ms; its memory stays mapped")
        }
        words.waitUntilLeft(nanoseconds: Int64(end - now))
      }
      defer { words.open() }
      return unsafe try body(&state.pointee)
    }
  }
}
