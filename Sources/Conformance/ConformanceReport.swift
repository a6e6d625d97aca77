/// What has come of checking a device by several rules.
public struct ConformanceReport: Sendable, CustomStringConvertible {
  /// What was checked: `simulator at virtual, device 0 (net)`.
  public let subject: String
  /// A result for each rule, in their order.
  public let results: [ConformanceResult]

  /// Whether no rule was broken.
  public var isClean: Bool { failures.isEmpty }
  /// Those of rules that were broken.
  public var failures: [ConformanceResult] { results.filter { $0.failure != nil } }
  /// Those of rules that do not apply.
  public var skipped: [ConformanceResult] { results.filter { $0.missing != nil } }

  /// A table for people, a line for each rule, and a line with the sums.
  public var description: String {
    let width = results.map(\.rule.id.count).max() ?? 0
    let rows = results.map { result in
      let name = result.rule.id + String(repeating: " ", count: width - result.rule.id.count)
      return switch result.outcome {
      case .passed: "  passed   \(name)  \(result.rule.title)"
      case .failed(let reason): "  FAILED   \(name)  \(result.rule.title)\n             \(reason)"
      case .skipped(let missing): "  skipped  \(name)  the device has no \(missing)"
      }
    }
    let passed = results.count - failures.count - skipped.count
    let sum = "\(passed) rules kept, \(failures.count) broken, \(skipped.count) skipped"
    return ([subject] + rows + [sum]).joined(separator: "\n")
  }
}
