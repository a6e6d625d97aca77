import Control

/// What came in one line: a request or a batch of them (JSON-RPC 2.0, §4 and §6), checked as far as can be without calling
/// anything.
struct RequestLine: Sendable {
  /// How many requests a batch can have.
  static let longestBatch = 100

  /// How deep arrays and objects can be in each other; no request needs half of it. Reading what is deep takes long.
  static let deepestNesting = 16

  private enum Item: Sendable {
    case refused(id: JSONValue, RPCError)
    /// A notification has no id, and gets no answer.
    case call(id: JSONValue?, MethodTable.Entry, params: JSONValue)
    /// A notification that cannot be carried out; nobody is told.
    case ignored
  }

  private let items: [Item]
  private let isBatch: Bool

  init(_ bytes: [UInt8], _ methods: MethodTable) {
    guard Self.nesting(of: bytes) <= Self.deepestNesting else {
      let error = RPCError.invalidRequest("arrays and objects are at most \(Self.deepestNesting) deep in each other")
      (items, isBatch) = ([.refused(id: .null, error)], false)
      return
    }
    let value: JSONValue
    do {
      value = try JSONValue(json: bytes)
    } catch {
      (items, isBatch) = ([.refused(id: .null, .parseError("a line is no JSON, or no UTF-8"))], false)
      return
    }
    guard case .array(let requests) = value else {
      (items, isBatch) = ([Self.item(value, methods)], false)
      return
    }
    guard (1...Self.longestBatch).contains(requests.count) else {
      let error = RPCError.invalidRequest("a batch has 1 to \(Self.longestBatch) requests, not \(requests.count)")
      (items, isBatch) = ([.refused(id: .null, error)], false)
      return
    }
    (items, isBatch) = (requests.map { Self.item($0, methods) }, true)
  }

  /// How deep brackets and braces are in each other, those in strings left out.
  private static func nesting(of bytes: [UInt8]) -> Int {
    var (depth, deepest) = (0, 0)
    var isInString = false
    var isEscaped = false
    for byte in bytes {
      switch byte {
      case _ where isEscaped: isEscaped = false
      case UInt8(ascii: "\\") where isInString: isEscaped = true
      case UInt8(ascii: "\""): isInString.toggle()
      case _ where isInString: break
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        depth += 1
        deepest = max(deepest, depth)
      case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
      default: break
      }
    }
    return deepest
  }

  private static func item(_ value: JSONValue, _ methods: MethodTable) -> Item {
    guard case .object(let members) = value else {
      return .refused(id: .null, .invalidRequest("a request is an object, not \(value.kind)"))
    }
    switch members["id"] {
    case nil, .null, .text, .integer, .unsigned, .fraction: break
    default: return .refused(id: .null, .invalidRequest("the id of a request is a string, a number or null"))
    }
    let id = members["id"]
    guard members["jsonrpc"] == .text("2.0") else {
      return .refused(id: id ?? .null, .invalidRequest("the request does not say \"jsonrpc\": \"2.0\""))
    }
    guard case .text(let name) = members["method"] else {
      return .refused(id: id ?? .null, .invalidRequest("the request has no method, which is a string"))
    }
    func refuse(_ error: RPCError) -> Item { id.map { .refused(id: $0, error) } ?? .ignored }
    guard let entry = methods[name] else { return refuse(.methodNotFound(String(name.prefix(64)))) }
    do throws(RPCError) {
      return .call(id: id, entry, params: try ParameterRule.check(members["params"], entry.rules))
    } catch {
      return refuse(error)
    }
  }

  /// Whether it changes anything.
  var isChange: Bool {
    items.contains { item in
      if case .call(_, let entry, _) = item { entry.description.change } else { false }
    }
  }

  /// Carries it out, in its order.
  ///
  /// - Parameter onChange: Told of each change, its parameters included, and of the error if it has failed.
  /// - Returns: The answer, a line with its end; nil when there is none.
  func run(onChange: (_ change: String, RPCError?) -> Void) -> [UInt8]? {
    let answers = items.compactMap { answer(to: $0, onChange) }
    guard let first = answers.first else { return nil }
    guard isBatch else { return first + [10] }
    return Array("[".utf8) + answers.joined(separator: ",".utf8) + Array("]\n".utf8)
  }

  private func answer(to item: Item, _ onChange: (_ change: String, RPCError?) -> Void) -> [UInt8]? {
    switch item {
    case .ignored: return nil
    case .refused(let id, let error): return Self.line(id, error)
    case .call(let id, let entry, let params):
      var failure: RPCError?
      var answer: [UInt8]?
      do {
        answer = try entry.call(params, id ?? .null)
      } catch {
        let known = error as? RPCError ?? .internalError("\(entry.description.name) failed: \(error)")
        (failure, answer) = (known, Self.line(id ?? .null, known))
      }
      if entry.description.change { onChange(Self.shown(entry.description.name, params), failure) }
      return id == nil ? nil : answer
    }
  }

  /// A call in words for the log, in which no line breaks can be: JSON has none.
  private static func shown(_ method: String, _ params: JSONValue) -> String {
    let text = String(decoding: (try? params.lineJSON()) ?? [], as: UTF8.self)
    return method + " " + (text.utf8.count <= 512 ? text : text.prefix(256) + "…")
  }

  /// A response that says what went wrong.
  static func line(_ id: JSONValue, _ error: RPCError) -> [UInt8] {
    // All of it is strings and numbers, which can be encoded; a fraction that is not finite never came in.
    (try? RPCResponse<Nothing>(id: id, error: error).lineJSON()) ?? []
  }
}
