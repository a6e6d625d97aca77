/// The counters of sockets' vrings.
package struct StatsMethod: ControlMethod {
  package typealias Answer = Statistics
  package static let name = "stats"
  package static let summary = "The counters of the vrings of all sockets, or of one."
  package static let parameters = [
    ParameterRule("socket", .string(most: Limits.name), isRequired: false, "the name of the only socket to look at")
  ]

  package var socket: String?

  package init(socket: String? = nil) { self.socket = socket }
}
