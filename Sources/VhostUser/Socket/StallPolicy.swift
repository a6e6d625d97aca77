/// What is done about a device that has work and makes no progress.
public struct StallPolicy: Sendable, Hashable {
  /// How long that is left alone, in milliseconds; at least 10.
  public var milliseconds: Int
  /// Whether it counts as a failure then, so that software takes over where it stands by. If not, it is told.
  public var isFailure: Bool

  /// A policy.
  public init(milliseconds: Int = 10_000, isFailure: Bool = false) {
    self.milliseconds = max(milliseconds, 10)
    self.isFailure = isFailure
  }
}
