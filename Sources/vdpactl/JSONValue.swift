import FoundationEssentials

/// A JSON document made by hand, so that every key stands in it, `null` where there is no value, and the numbers are
/// numbers: scripts depend on it.
enum JSONValue: Encodable {
  case null
  case bool(Bool)
  case unsigned(UInt64)
  case text(String)
  case array([JSONValue])
  case object([String: JSONValue])

  /// A count or a position, which are never negative.
  static func number(_ value: some BinaryInteger) -> JSONValue { .unsigned(UInt64(value)) }

  /// A string, or null.
  static func string(_ value: String?) -> JSONValue { value.map { .text($0) } ?? .null }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .unsigned(let value): try container.encode(value)
    case .text(let value): try container.encode(value)
    case .array(let values): try container.encode(values)
    case .object(let members): try container.encode(members)
    }
  }

  /// The document, indented, its keys in alphabetical order.
  func serialized() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }
}
