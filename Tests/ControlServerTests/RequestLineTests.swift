import Control
import Testing

@testable import ControlServer

/// JSON-RPC 2.0, with the examples of its specification (§7).
struct RequestLineTests {
  private static var methods: MethodTable {
    var table = MethodTable()
    table.add(Subtract.self) { request in
      guard request.minuend < 1000 else { throw RPCError.application("tooMuch", "no more than 999") }
      return request.minuend - request.subtrahend
    }
    table.add(Change.self) { _ in throw Unexpected() }
    return table.describingItself()
  }

  private struct Unexpected: Error {}

  private static func answer(_ text: String) throws -> String? {
    let bytes = RequestLine(Array(text.utf8), methods).run { _, _ in }
    guard let bytes else { return nil }
    #expect(bytes.last == 10 && bytes.filter { $0 == 10 }.count == 1)
    return String(decoding: bytes.dropLast(), as: UTF8.self)
  }

  /// The number of the error in an answer, and the answer's id.
  private static func error(_ text: String) throws -> (code: Int?, id: JSONValue) {
    let line = try #require(try answer(text))
    let response = try RPCResponse<Int>(json: Array(line.utf8))
    return (response.error?.code, response.id)
  }

  @Test("A request is answered with its id, whatever kind that is")
  func request() throws {
    for id in ["1", "\"a\"", "null", "-7", "1.5"] {
      let text = #"{"jsonrpc":"2.0","method":"subtract","params":{"minuend":42,"subtrahend":23},"id":\#(id)}"#
      #expect(try Self.answer(text) == #"{"id":\#(id),"jsonrpc":"2.0","result":19}"#)
    }
  }

  @Test("A notification has no answer, whether or not it can be carried out")
  func notification() throws {
    for text in [
      #"{"jsonrpc":"2.0","method":"subtract","params":{"minuend":42,"subtrahend":23}}"#,
      #"{"jsonrpc":"2.0","method":"subtract"}"#, #"{"jsonrpc":"2.0","method":"foobar"}"#,
      #"{"jsonrpc":"2.0","method":"change"}"#,
      #"[{"jsonrpc":"2.0","method":"foobar"},{"jsonrpc":"2.0","method":"change"}]"#,
    ] { #expect(try Self.answer(text) == nil) }
  }

  @Test(
    "What is wrong has the number that the specification gives it",
    arguments: [
      (#"{"jsonrpc":"2.0","method":"foobar, "params":"bar","baz]"#, -32700, JSONValue.null),
      (#"[{"jsonrpc":"2.0","method":"subtract","id":1},{"jsonrpc":"2.0","method"]"#, -32700, .null),
      (#"{"jsonrpc":"2.0","method":1,"params":"bar"}"#, -32600, .null), ("[]", -32600, .null), ("1", -32600, .null),
      ("null", -32600, .null), (#"{"jsonrpc":"1.0","method":"subtract","id":3}"#, -32600, .integer(3)),
      (#"{"method":"subtract","id":3}"#, -32600, .integer(3)),
      (#"{"jsonrpc":"2.0","method":"subtract","id":[]}"#, -32600, .null),
      (#"{"jsonrpc":"2.0","method":"foobar","id":"1"}"#, -32601, .text("1")),
      (#"{"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":1}"#, -32602, .integer(1)),
      (#"{"jsonrpc":"2.0","method":"subtract","params":"bar","id":1}"#, -32602, .integer(1)),
      (#"{"jsonrpc":"2.0","method":"subtract","params":{"minuend":1000,"subtrahend":1},"id":1}"#, -32000, .integer(1)),
      (#"{"jsonrpc":"2.0","method":"change","id":1}"#, -32603, .integer(1)),
    ])
  func wrong(text: String, code: Int, id: JSONValue) throws {
    let found = try Self.error(text)
    #expect(found.code == code && found.id == id)
  }

  @Test("A batch is answered in one array without its notifications, one by one, right or wrong")
  func batch() throws {
    let text = try Self.answer(
      """
      [{"jsonrpc":"2.0","method":"subtract","params":{"minuend":42,"subtrahend":23},"id":"2"}, \
      {"jsonrpc":"2.0","method":"subtract","params":{"minuend":1,"subtrahend":1}}, \
      {"foo":"boo"}, 1, {"jsonrpc":"2.0","method":"foo.get","params":{"name":"myself"},"id":"5"}]
      """)
    let line = try #require(text)
    let answers = try [RPCResponse<Int>](json: Array(line.utf8))
    #expect(answers.map(\.id) == [.text("2"), .null, .null, .text("5")])
    #expect(answers.map(\.result) == [19, nil, nil, nil])
    #expect(answers.map(\.error?.code) == [nil, -32600, -32600, -32601])
  }

  @Test("A batch has an end")
  func longBatch() throws {
    func batch(_ count: Int) -> String { "[" + [String](repeating: "1", count: count).joined(separator: ",") + "]" }
    let line = try #require(try Self.answer(batch(RequestLine.longestBatch)))
    #expect(try [RPCResponse<Int>](json: Array(line.utf8)).count == RequestLine.longestBatch)
    #expect(try Self.error(batch(RequestLine.longestBatch + 1)).code == -32600)
  }

  @Test(
    "A line changes something if any of its requests does, and the change is told with its parameters and its error")
  func changes() {
    let plain = #"{"jsonrpc":"2.0","method":"subtract","params":{"minuend":1,"subtrahend":1},"id":1}"#
    let change = #"{"jsonrpc":"2.0","method":"change","id":1}"#
    #expect(!RequestLine(Array(plain.utf8), Self.methods).isChange)
    let line = RequestLine(Array("[\(plain),\(change)]".utf8), Self.methods)
    #expect(line.isChange)
    var told: [String] = []
    _ = line.run { change, error in told.append("\(change) \(error?.code ?? 0)") }
    #expect(told == ["change {} -32603"])
  }

  @Test("rpc.describe tells of all methods, itself included, and of their parameters")
  func describe() throws {
    let line = try #require(try Self.answer(#"{"jsonrpc":"2.0","method":"rpc.describe","id":1}"#))
    let methods = try #require(try RPCResponse<[MethodDescription]>(json: Array(line.utf8)).result)
    #expect(methods.map(\.name) == ["change", "rpc.describe", "subtract"])
    #expect(methods.map(\.change) == [true, false, false])
    #expect(methods[2].parameters.map(\.name) == ["minuend", "subtrahend"])
    #expect(methods[2].parameters.allSatisfy { $0.required && $0.type == "whole number from 0 to 9999" })
  }
}
