internal import Synchronization

/// Where a worker's time went: written by its thread alone, read by anybody.
final class WorkerCounters: Sendable {
  private let rawTurns = Atomic<UInt64>(0)
  private let rawBusyTurns = Atomic<UInt64>(0)
  private let rawBusy = Atomic<UInt64>(0)
  private let rawIdle = Atomic<UInt64>(0)
  private let rawAsleep = Atomic<UInt64>(0)
  private let rawSleeps = Atomic<UInt64>(0)

  var turns: UInt64 { rawTurns.load(ordering: .relaxed) }
  var busyTurns: UInt64 { rawBusyTurns.load(ordering: .relaxed) }
  var busy: UInt64 { rawBusy.load(ordering: .relaxed) }
  var idle: UInt64 { rawIdle.load(ordering: .relaxed) }
  var asleep: UInt64 { rawAsleep.load(ordering: .relaxed) }
  var sleeps: UInt64 { rawSleeps.load(ordering: .relaxed) }

  @inline(__always) private func add(_ amount: UInt64, to counter: borrowing Atomic<UInt64>) {
    counter.store(counter.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
  }

  /// A turn begins.
  @inline(__always) func beginTurn() { add(1, to: rawTurns) }

  /// A turn that had something to do has ended.
  @inline(__always) func addBusy(_ cycles: UInt64) {
    add(1, to: rawBusyTurns)
    add(cycles, to: rawBusy)
  }

  /// Nothing was found in that time.
  @inline(__always) func addIdle(_ cycles: UInt64) { add(cycles, to: rawIdle) }

  /// Counts a sleep when it begins: nobody else knows when it ends.
  func beginSleep() { add(1, to: rawSleeps) }

  /// The thread slept in that time.
  func addAsleep(_ cycles: UInt64) { add(cycles, to: rawAsleep) }
}
