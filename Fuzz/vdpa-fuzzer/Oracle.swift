internal import CFuzzer

/// What must hold whatever the input is. The first thing that does not ends the process, which libFuzzer reports with the
/// input.
enum Oracle {
  /// The CPU time of one call of a walker that nothing bounded needs: the most that a burst visits and copies takes some
  /// milliseconds, and a walk over size × size descriptors many seconds.
  static let longestCall: UInt64 = 1_000_000_000

  /// Ends the process unless `holds`.
  @inline(__always) static func require(_ holds: Bool, _ message: @autoclosure () -> String) {
    if !holds { fail(message()) }
  }

  static func fail(_ message: String) -> Never { fatalError("ORACLE: \(message)") }

  /// Calls a walker and ends the process if that took more CPU time than bounded work takes.
  @inline(__always) static func bounded<R>(_ name: StaticString, _ call: () -> R) -> R {
    let start = cfuzzer_thread_nanoseconds()
    let result = call()
    let spent = cfuzzer_thread_nanoseconds() - start
    require(spent < longestCall, "\(name) took \(spent / 1_000_000) ms of CPU time: its work is not bounded")
    return result
  }
}
