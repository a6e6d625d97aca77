import Control
import Testing

/// JSON as it comes from a client and goes back to one.
struct JSONValueTests {
  private static func value(_ text: String) throws -> JSONValue { try JSONValue(json: Array(text.utf8)) }

  @Test("Every kind of value is told apart, and is written as it was read")
  func kinds() throws {
    for (text, value) in [
      ("null", .null), ("true", .bool(true)), ("-1", .integer(-1)), ("9223372036854775807", .integer(.max)),
      ("18446744073709551615", .unsigned(.max)), ("1.5", .fraction(1.5)), ("\"a\\nb\"", .text("a\nb")),
      ("[1,[]]", .array([.integer(1), .array([])])), ("{\"a\":{}}", .object(["a": .object([:])])),
    ] as [(String, JSONValue)] {
      #expect(try Self.value(text) == value)
      #expect(String(decoding: try value.lineJSON(), as: UTF8.self) == text)
    }
    #expect(JSONValue.number(UInt64.max) == .unsigned(.max))
    #expect(JSONValue.number(7) == .integer(7))
  }

  @Test("What is no JSON is an error, however deep it is")
  func broken() {
    for text in ["", "{", "[1 2]", "nil", "\"", "{\"a\":1}}", String(repeating: "[", count: 200_000)] {
      #expect(throws: (any Error).self) { try Self.value(text) }
    }
    #expect(throws: (any Error).self) { try JSONValue(json: [0x22, 0xff, 0xfe, 0x22]) }
  }

  @Test("A line has no line breaks, whatever is in it")
  func lines() throws {
    let bytes = try JSONValue.object(["a\r\nb": .text("\n\u{2028}")]).lineJSON()
    #expect(!bytes.contains(10) && !bytes.contains(13))
  }
}
