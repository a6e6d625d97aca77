/// One thing that a device has to do, and a test that finds out whether it does.
public struct ConformanceRule: Sendable, Hashable, CustomStringConvertible {
  /// A short name that does not change: `silence.memory`.
  public let id: String
  /// The rule, in a sentence.
  public let title: String
  /// Finds out; returns when the device keeps the rule.
  let check: @Sendable (ConformanceBench) throws -> Void

  init(_ id: String, _ title: String, _ check: @escaping @Sendable (ConformanceBench) throws -> Void) {
    self.id = id
    self.title = title
    self.check = check
  }

  /// Whether it is the same rule.
  public static func == (one: ConformanceRule, other: ConformanceRule) -> Bool { one.id == other.id }

  /// By its name.
  public func hash(into hasher: inout Hasher) { hasher.combine(id) }

  /// The name.
  public var description: String { id }
}
