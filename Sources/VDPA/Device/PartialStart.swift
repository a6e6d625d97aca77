/// What ``Device/configure(_:)`` throws when it has failed although some rings were served by then: they have been stopped again,
/// and stand elsewhere than before.
public struct PartialStart: Error, CustomStringConvertible {
  /// Why it has failed.
  public let reason: any Error
  /// Where the rings stand that were served.
  public let states: [VringState]

  /// A failure for a reason.
  public init(_ reason: any Error, states: [VringState]) {
    self.reason = reason
    self.states = states
  }

  /// The reason's words.
  public var description: String { "\(reason)" }
}
