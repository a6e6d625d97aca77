/// A method as `rpc.describe` tells of it.
package struct MethodDescription: Codable, Sendable {
  /// A parameter of it.
  package struct Parameter: Codable, Sendable {
    package var name: String
    package var type: String
    package var required: Bool
    package var meaning: String
  }

  package var name: String
  package var summary: String
  /// Whether it changes anything.
  package var change: Bool
  package var parameters: [Parameter]

  package init<Method: ControlMethod>(_ method: Method.Type) {
    (name, summary, change) = (Method.name, Method.summary, Method.isChange)
    parameters = Method.parameters.map {
      Parameter(name: $0.name, type: $0.kind.description, required: $0.isRequired, meaning: $0.meaning)
    }
  }
}
