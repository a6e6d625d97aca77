internal import CLinux

/// CLOCK_MONOTONIC.
package enum MonotonicClock {
  /// Nanoseconds since some point before the process started.
  package static var nanoseconds: UInt64 { clinux_monotonic_nanoseconds() }
}
