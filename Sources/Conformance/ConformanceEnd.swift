/// How a check ends otherwise than by returning.
enum ConformanceEnd: Error {
  /// The device breaks the rule.
  case violation(String)
  /// The rule does not apply to a device that has no such thing.
  case skip(missing: String)
}

/// Ends the check unless a condition holds.
func require(_ condition: Bool, _ reason: @autoclosure () -> String) throws {
  guard condition else { throw ConformanceEnd.violation(reason()) }
}
