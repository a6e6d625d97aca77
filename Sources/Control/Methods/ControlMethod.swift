/// A method of the control protocol: what it is called with, and what it answers with. Both programs have it from here.
package protocol ControlMethod: Codable, Sendable {
  associatedtype Answer: Codable & Sendable

  /// Its name, `socket.add`.
  static var name: String { get }
  /// What it does, in a line.
  static var summary: String { get }
  /// Whether it changes anything: changes are made one after the other, in the order in which they come.
  static var isChange: Bool { get }
  /// What it takes. Requests are checked against this before they become values.
  static var parameters: [ParameterRule] { get }
}

extension ControlMethod {
  package static var isChange: Bool { false }
  package static var parameters: [ParameterRule] { [] }
}
