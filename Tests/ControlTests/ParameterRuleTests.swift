import Control
import Testing

/// Parameters are checked before they become values, and errors name the parameter.
struct ParameterRuleTests {
  private static let rules = [
    ParameterRule("name", .string(most: 4), "a name"),
    ParameterRule("count", .integer(1...9), isRequired: false, "a count"),
    ParameterRule("flag", .boolean, isRequired: false, "a flag"),
    ParameterRule("kind", .choice(["a", "b"]), isRequired: false, "a kind"),
    ParameterRule("settings", .strings(most: 2, bytes: 3), isRequired: false, "settings"),
    ParameterRule(
      "pairs", .list(of: .object([ParameterRule("x", .integer(0...1), "x")]), most: 2), isRequired: false, "p"),
  ]

  /// The parameter that is found wrong; "-" for none of them, nil if all are right.
  private static func wrong(_ text: String) throws -> String? {
    do throws(RPCError) {
      _ = try ParameterRule.check((try? JSONValue(json: Array(text.utf8))) ?? .null, rules)
      return nil
    } catch {
      #expect(error.code == -32602 && error.data?.code == "invalidParams")
      if let parameter = error.data?.parameter { #expect(error.message.contains(parameter)) }
      return error.data?.parameter ?? "-"
    }
  }

  @Test(
    "What is right passes",
    arguments: [
      #"{"name":"abcd"}"#,
      #"{"name":"é","count":9,"flag":false,"kind":"b","settings":{"k":"v","l":""},"pairs":[{"x":1},{"x":0}]}"#,
      #"{"name":"a","settings":{},"pairs":[]}"#,
    ])
  func right(text: String) throws { #expect(try Self.wrong(text) == nil) }

  @Test(
    "What is missing, unknown, of another type, too large or out of range is named",
    arguments: [
      ("{}", "name"), (#"{"name":""}"#, "name"), (#"{"name":"abcde"}"#, "name"), (#"{"name":null}"#, "name"),
      (#"{"name":1}"#, "name"), (#"{"name":"a","more":1}"#, "more"), (#"{"name":"a","count":0}"#, "count"),
      (#"{"name":"a","count":10}"#, "count"), (#"{"name":"a","count":"1"}"#, "count"),
      (#"{"name":"a","count":1.5}"#, "count"), (#"{"name":"a","count":18446744073709551615}"#, "count"),
      (#"{"name":"a","count":true}"#, "count"), (#"{"name":"a","flag":1}"#, "flag"),
      (#"{"name":"a","kind":"c"}"#, "kind"), (#"{"name":"a","settings":["k"]}"#, "settings"),
      (#"{"name":"a","settings":{"k":1}}"#, "settings.k"), (#"{"name":"a","settings":{"k":"long"}}"#, "settings.k"),
      (#"{"name":"a","settings":{"":"v"}}"#, "settings."),
      (#"{"name":"a","settings":{"a":"","b":"","c":""}}"#, "settings"),
      (#"{"name":"a","pairs":[{"x":0},{"x":2}]}"#, "pairs[1].x"), (#"{"name":"a","pairs":[{}]}"#, "pairs[0].x"),
      (#"{"name":"a","pairs":[{"x":0,"y":0}]}"#, "pairs[0].y"), (#"{"name":"a","pairs":[1]}"#, "pairs[0]"),
      (#"{"name":"a","pairs":[{"x":0},{"x":0},{"x":0}]}"#, "pairs"), (#"["a"]"#, "-"),
    ])
  func wrong(text: String, parameter: String) throws { #expect(try Self.wrong(text) == parameter) }

  @Test("Without parameters is the same as with none")
  func absent() throws {
    #expect(try ParameterRule.check(nil, []) == .object([:]))
    #expect(throws: RPCError.self) { try ParameterRule.check(nil, Self.rules) }
  }

  @Test("A name that is not known is not repeated whole")
  func long() throws {
    let found = try Self.wrong(#"{"name":"a","\#(String(repeating: "x", count: 1000))":1}"#)
    #expect(found?.count == 33)
  }
}
