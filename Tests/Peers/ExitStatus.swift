/// How a process ended.
package enum ExitStatus: Hashable, Sendable, CustomStringConvertible {
  /// By exit(3), with this status.
  case exited(Int32)
  /// By a signal of this number.
  case signalled(Int32)

  package var description: String {
    switch self {
    case .exited(let status): "exited with \(status)"
    case .signalled(let signal): "was ended by signal \(signal)"
    }
  }
}
