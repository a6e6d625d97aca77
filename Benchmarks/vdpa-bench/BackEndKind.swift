/// The back-ends that are compared.
enum BackEndKind: String, CaseIterable, Sendable, CustomStringConvertible {
  /// This project's daemon.
  case vdpad
  /// DPDK's `net_vhost` in testpmd.
  case dpdk

  var description: String { rawValue }
}
