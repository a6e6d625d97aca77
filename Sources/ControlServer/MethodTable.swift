package import Control

/// The methods that a server has, by name. A server adds `rpc.describe` itself.
package struct MethodTable: Sendable {
  struct Entry: Sendable {
    let description: MethodDescription
    let rules: [ParameterRule]
    /// Takes checked parameters and the request's id; gives the whole response.
    let call: @Sendable (JSONValue, JSONValue) throws -> [UInt8]
  }

  private var entries: [String: Entry] = [:]

  package init() {}

  /// Adds a method.
  ///
  /// - Parameters:
  ///   - method: Its type.
  ///   - body: Does it, on a thread that may block; what changes something, one after the other. Throws ``RPCError``.
  package mutating func add<Method: ControlMethod>(
    _ method: Method.Type, _ body: @escaping @Sendable (Method) throws -> Method.Answer
  ) {
    precondition(entries[Method.name] == nil, "a method is added once")
    entries[Method.name] = Entry(description: MethodDescription(method), rules: Method.parameters) { params, id in
      let request: Method
      do {
        request = try Method(json: try params.lineJSON())
      } catch {
        throw RPCError.invalidParams(nil, "these parameters of \(Method.name) cannot be understood: \(error)")
      }
      return try RPCResponse(id: id, result: try body(request)).lineJSON()
    }
  }

  /// The table with `rpc.describe`, which tells of all that are in it.
  func describingItself() -> MethodTable {
    let all = entries.values.map(\.description) + [MethodDescription(DescribeMethod.self)]
    let descriptions = all.sorted { $0.name < $1.name }
    var table = self
    table.add(DescribeMethod.self) { _ in descriptions }
    return table
  }

  subscript(name: String) -> Entry? { entries[name] }
}
