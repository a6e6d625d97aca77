/// A request of a client (JSON-RPC 2.0, §4).
package struct RPCRequest<Parameters: Encodable>: Encodable {
  package let jsonrpc = "2.0"
  package let id: Int
  package let method: String
  package let params: Parameters

  private enum CodingKeys: String, CodingKey { case jsonrpc, id, method, params }

  package init(id: Int, method: String, params: Parameters) {
    (self.id, self.method, self.params) = (id, method, params)
  }
}
