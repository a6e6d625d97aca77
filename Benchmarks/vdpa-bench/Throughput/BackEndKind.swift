/// The back-ends that are compared.
enum BackEndKind: String, CaseIterable, Sendable, CustomStringConvertible {
  /// This project's daemon, as everybody gets it.
  case vdpad
  /// DPDK's `net_vhost` in testpmd.
  case dpdk
  /// The daemon compiled for this very machine.
  case native

  var description: String { self == .native ? "vdpad, native" : rawValue }
}
