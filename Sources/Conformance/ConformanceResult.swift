/// What has come of checking a device by one rule.
public struct ConformanceResult: Sendable, Hashable, CustomStringConvertible {
  /// How it has ended.
  public enum Outcome: Sendable, Hashable {
    /// The device keeps the rule.
    case passed
    /// It does not, and this is what was seen.
    case failed(reason: String)
    /// The rule does not apply, for the device lacks this.
    case skipped(missing: String)
  }

  /// The rule.
  public let rule: ConformanceRule
  /// How it has ended.
  public let outcome: Outcome

  /// What was seen of a device that does not keep the rule; nil otherwise.
  public var failure: String? {
    if case .failed(let reason) = outcome { reason } else { nil }
  }

  /// What the device lacks for the rule; nil otherwise.
  public var missing: String? {
    if case .skipped(let missing) = outcome { missing } else { nil }
  }

  /// `silence.memory: passed`.
  public var description: String {
    switch outcome {
    case .passed: "\(rule.id): passed"
    case .failed(let reason): "\(rule.id): FAILED, \(reason)"
    case .skipped(let missing): "\(rule.id): skipped, the device has no \(missing)"
    }
  }
}
