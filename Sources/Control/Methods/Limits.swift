/// How large what a request names can be.
package enum Limits {
  /// Names of sockets, in bytes.
  package static let name = 64
  /// Paths, in bytes.
  package static let path = 4096
  /// Other words: drivers, addresses, ports, parameters of engines; in bytes.
  package static let word = 256
  /// Parameters of an engine.
  package static let parameters = 64
  /// Candidates of a socket.
  package static let candidates = 64
  /// Queues of a socket, of any type.
  package static let queues = 256
  /// Engines' and devices' numbers; −1 is software.
  package static let numbers = -1...Int(Int32.max)
}
