/// Why a request was not carried out (JSON-RPC 2.0, §5.1).
package struct RPCError: Error, Codable, Hashable, Sendable, CustomStringConvertible {
  /// What programs tell errors apart by.
  package struct Detail: Codable, Hashable, Sendable {
    /// The framework's name for the kind of error: `deviceInUse`, `unknownSocket`.
    package var code: String
    /// The parameter that is wrong; left out when none is.
    package var parameter: String?
  }

  /// The number of the protocol.
  package let code: Int
  /// What failed, on which object, why, and what to do.
  package let message: String
  /// What kind of error it is.
  package let data: Detail?

  private init(_ number: Int, _ code: String, _ message: String, parameter: String? = nil) {
    self.code = number
    self.message = message
    data = Detail(code: code, parameter: parameter)
  }

  /// What came is no JSON.
  package static func parseError(_ why: String) -> RPCError { RPCError(-32700, "parseError", why) }

  /// What came is JSON, and no request.
  package static func invalidRequest(_ why: String) -> RPCError { RPCError(-32600, "invalidRequest", why) }

  /// There is no such method.
  package static func methodNotFound(_ name: String) -> RPCError {
    RPCError(-32601, "methodNotFound", "there is no method \"\(name)\"; rpc.describe lists those that there are")
  }

  /// A parameter is missing, unknown, of the wrong type or out of range.
  package static func invalidParams(_ parameter: String?, _ why: String) -> RPCError {
    RPCError(-32602, "invalidParams", why, parameter: parameter)
  }

  /// The daemon has failed at something that should not fail.
  package static func internalError(_ why: String) -> RPCError { RPCError(-32603, "internalError", why) }

  /// The request was understood and could not be carried out; `code` is the framework's name for the kind of error.
  package static func application(_ code: String, _ message: String) -> RPCError { RPCError(-32000, code, message) }

  /// Who asks may not, or not now.
  package static func refused(_ code: String, _ message: String) -> RPCError { RPCError(refusal, code, message) }

  private static let refusal = -32001

  /// Whether it is about who asks, and not about what was asked.
  package var isRefusal: Bool { code == RPCError.refusal }

  package var description: String { message }
}
