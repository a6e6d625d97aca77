internal import CLinux
internal import Glibc
internal import VDPA

/// The clock by which workers account for their time: cheap enough to be read once a turn.
enum CycleClock {
  /// Cycles since some moment in the past.
  @inline(__always) static var now: UInt64 { clinux_cycles() }

  /// The cycles from one reading to a later one; 0 where CPUs do not agree and the later one is behind.
  @inline(__always) static func cycles(from before: UInt64, to now: UInt64) -> UInt64 {
    let difference = now &- before
    return Int64(bitPattern: difference) < 0 ? 0 : difference
  }

  /// How many cycles a microsecond has; measured once, in a millisecond or two.
  static let perMicrosecond: UInt64 = {
    let start = reading()
    usleep(1000)
    let end = reading()
    let time = max(end.nanoseconds &- start.nanoseconds, 1)
    return max(cycles(from: start.cycles, to: end.cycles) &* 1000 / time, 1)
  }()

  /// The same moment by both clocks: of several tries the one that was interrupted least.
  private static func reading() -> (cycles: UInt64, nanoseconds: UInt64) {
    var (least, best) = (UInt64.max, (cycles: UInt64(0), nanoseconds: UInt64(0)))
    for _ in 0..<5 {
      let before = now
      let time = MonotonicClock.nanoseconds
      let width = cycles(from: before, to: now)
      if width < least { (least, best) = (width, (before &+ width / 2, time)) }
    }
    return best
  }
}
