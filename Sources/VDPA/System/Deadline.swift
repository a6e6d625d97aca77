/// A moment by which something has to have happened.
package struct Deadline {
  private let moment: UInt64

  package init(after time: Duration) {
    let (seconds, attoseconds) = time.components
    let nanoseconds = max(seconds, 0).multipliedReportingOverflow(by: 1_000_000_000)
    let wait = nanoseconds.overflow ? UInt64(Int64.max) : UInt64(nanoseconds.partialValue)
    moment = MonotonicClock.nanoseconds + wait + UInt64(max(attoseconds, 0) / 1_000_000_000)
  }

  package var hasPassed: Bool { MonotonicClock.nanoseconds >= moment }

  /// What is left for a futex(2), in nanoseconds; 0 after it.
  package var nanoseconds: Int64 {
    let now = MonotonicClock.nanoseconds
    return now >= moment ? 0 : Int64(clamping: moment - now)
  }

  /// What is left for poll(2), rounded up: at least 1 before the moment, 0 after it.
  package var milliseconds: CInt {
    let now = MonotonicClock.nanoseconds
    return now >= moment ? 0 : CInt(clamping: (moment - now + 999_999) / 1_000_000)
  }
}
