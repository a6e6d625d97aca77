/// Any JSON value: parameters before they are checked, and documents made by hand, so that every key stands in them, `null`
/// where there is no value, and the numbers are numbers: scripts depend on it.
package enum JSONValue: Codable, Hashable, Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  /// More than ``integer(_:)`` has room for.
  case unsigned(UInt64)
  case fraction(Double)
  case text(String)
  case array([JSONValue])
  case object([String: JSONValue])

  /// A whole number that has 64 bits.
  package static func number(_ value: some BinaryInteger) -> JSONValue {
    Int64(exactly: value).map { .integer($0) } ?? .unsigned(UInt64(value))
  }

  /// A string, or null.
  package static func string(_ value: String?) -> JSONValue { value.map { .text($0) } ?? .null }

  package init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    // What is frequent comes first: each attempt that fails makes an error.
    if let value = try? container.decode(String.self) {
      self = .text(value)
    } else if let value = try? container.decode(Int64.self) {
      self = .integer(value)
    } else if let value = try? container.decode([String: JSONValue].self) {
      self = .object(value)
    } else if let value = try? container.decode([JSONValue].self) {
      self = .array(value)
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(UInt64.self) {
      self = .unsigned(value)
    } else if let value = try? container.decode(Double.self) {
      self = .fraction(value)
    } else if container.decodeNil() {
      self = .null
    } else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "no JSON value")
    }
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .integer(let value): try container.encode(value)
    case .unsigned(let value): try container.encode(value)
    case .fraction(let value): try container.encode(value)
    case .text(let value): try container.encode(value)
    case .array(let values): try container.encode(values)
    case .object(let members): try container.encode(members)
    }
  }

  /// What kind of value it is, in words.
  package var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a truth value"
    case .integer, .unsigned: "a whole number"
    case .fraction: "a fraction"
    case .text: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}
