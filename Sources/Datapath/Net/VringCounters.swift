internal import CLinux
internal import VDPA

/// The counters of a vring: written by whoever owns the vring at the time, read by anybody.
@safe final class VringCounters: Sendable {
  enum Counter: Int, CaseIterable {
    case packets, bytes, dropped, oversized, kicks, calls, suppressedCalls, broken
  }

  // Allocated once and freed with this object; every access is atomic.
  nonisolated(unsafe) private let values: UnsafeMutablePointer<UInt64>

  init() {
    unsafe values = .allocate(capacity: Counter.allCases.count)
    unsafe values.initialize(repeating: 0, count: Counter.allCases.count)
  }

  deinit {
    unsafe values.deallocate()
  }

  /// Counts up; by one thread at a time.
  @inline(__always) func add(_ counter: Counter, _ amount: Int) {
    let value = unsafe values + counter.rawValue
    unsafe clinux_store_u64(value, clinux_load_u64(value) &+ UInt64(truncatingIfNeeded: amount))
  }

  private func load(_ counter: Counter) -> UInt64 { unsafe clinux_load_u64(values + counter.rawValue) }

  var snapshot: VringStatistics {
    var statistics = VringStatistics()
    statistics.packets = load(.packets)
    statistics.bytes = load(.bytes)
    statistics.dropped = load(.dropped)
    statistics.oversized = load(.oversized)
    statistics.kicks = load(.kicks)
    statistics.calls = load(.calls)
    statistics.suppressedCalls = load(.suppressedCalls)
    statistics.broken = load(.broken)
    return statistics
  }
}
