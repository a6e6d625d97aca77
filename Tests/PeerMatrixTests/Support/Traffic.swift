import Testing

/// What the device does with packets.
enum Traffic: String, CaseIterable, Sendable, CustomTestStringConvertible {
  case loopback
  case sink
  case source

  var testDescription: String { rawValue }
}
