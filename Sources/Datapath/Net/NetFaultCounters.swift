internal import Virtio

/// How many packets were dropped for what their headers said, by reason.
struct NetFaultCounters: Sendable {
  private var counts = [UInt64](repeating: 0, count: NetHeaderFault.allCases.count)

  /// How many packets had that fault.
  subscript(fault: NetHeaderFault) -> UInt64 { counts[Int(fault.rawValue)] }

  /// All of them.
  var total: UInt64 { counts.reduce(0, &+) }

  mutating func count(_ fault: NetHeaderFault) { counts[Int(fault.rawValue)] &+= 1 }
}
