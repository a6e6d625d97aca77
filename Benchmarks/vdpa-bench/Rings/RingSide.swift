/// Whose ring code it is.
enum RingSide: String, CaseIterable, Sendable, CustomStringConvertible {
  case swift
  case c

  var description: String { rawValue }
}
