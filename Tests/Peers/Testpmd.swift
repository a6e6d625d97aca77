/// DPDK's packet forwarder, `dpdk-testpmd` of Debian's package dpdk-dev, as either end of a vhost-user connection.
package enum Testpmd {
  /// The program.
  package static let program = "dpdk-testpmd"
  /// What to do when it is missing.
  package static let hint = "package dpdk-dev installs it"

  /// How testpmd forwards what it receives (`set fwd`).
  package enum ForwardMode: String, Sendable, CaseIterable {
    case io
    case mac
    case macswap
    case rxonly
    case txonly
    case csum
    case icmpecho
    case flowgen
  }
}
