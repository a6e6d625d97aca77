internal import Synchronization

/// What a client has cost the workers that served it: written by the one that does, read by anybody.
final class ClientLoad: Sendable {
  private let rawTurns = Atomic<UInt64>(0)
  private let rawCycles = Atomic<UInt64>(0)

  /// Turns in which it had something to do, and the cycles that they took.
  var turns: UInt64 { rawTurns.load(ordering: .relaxed) }
  var cycles: UInt64 { rawCycles.load(ordering: .relaxed) }

  /// Counts such a turn.
  @inline(__always) func add(cycles: UInt64) {
    rawTurns.store(rawTurns.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    rawCycles.store(rawCycles.load(ordering: .relaxed) &+ cycles, ordering: .relaxed)
  }
}
