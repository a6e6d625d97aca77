import Testing

/// Who serves a socket in a test.
enum ServingEngine: String, CaseIterable, Sendable, CustomTestStringConvertible {
  /// Nobody was bound: (−1, −1).
  case software
  /// Engine 0, device 0.
  case simulator

  var other: ServingEngine { self == .software ? .simulator : .software }
  var testDescription: String { rawValue }
}
