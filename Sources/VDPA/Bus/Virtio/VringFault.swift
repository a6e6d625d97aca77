/// What whoever serves a vring wrote into it that no device may write.
public struct VringFault: Error, Sendable, Hashable, CustomStringConvertible {
  /// The vring's index.
  public let index: Int
  /// What is wrong.
  public let reason: String

  /// `vring 1: the device returned buffer 7, which it does not have`.
  public var description: String { "vring \(index): \(reason)" }
}
