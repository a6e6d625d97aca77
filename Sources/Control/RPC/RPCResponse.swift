/// The answer to a request: a result or an error (JSON-RPC 2.0, §5).
package struct RPCResponse<Answer: Codable>: Codable {
  package let jsonrpc: String
  /// The request's; null when it could not be told.
  package let id: JSONValue
  package let result: Answer?
  package let error: RPCError?

  package init(id: JSONValue, result: Answer) {
    (jsonrpc, self.id, self.result, error) = ("2.0", id, result, nil)
  }

  package init(id: JSONValue, error: RPCError) {
    (jsonrpc, self.id, result, self.error) = ("2.0", id, nil, error)
  }
}
