import Control

/// A method that only looks.
struct Subtract: ControlMethod {
  typealias Answer = Int
  static let name = "subtract"
  static let summary = "The difference."
  static let parameters = [
    ParameterRule("minuend", .integer(0...9999), "what is taken from"),
    ParameterRule("subtrahend", .integer(0...9999), "what is taken"),
  ]

  var minuend: Int
  var subtrahend: Int
}

/// A method that changes something.
struct Change: ControlMethod {
  typealias Answer = Int
  static let name = "change"
  static let summary = "Changes something."
  static let isChange = true
}

/// A method with an answer of any size.
struct Fill: ControlMethod {
  typealias Answer = String
  static let name = "fill"
  static let summary = "A text of that length."
  static let parameters = [ParameterRule("count", .integer(0...100_000_000), "how long")]

  var count: Int
}
