/// The figures of one row: packets a second of every round.
struct Cell: Sendable {
  let port: Port
  let size: Int
  var rates: [BackEndKind: [Double]] = [:]
  /// The worst share of a measurement's time in which other programs had the CPU of either end.
  var disturbance = 0.0

  func median(_ kind: BackEndKind) -> Double? { rates[kind]?.median }

  /// vdpad's packets to DPDK's, the median over the rounds, whose two measurements stand next to each other in time.
  var ratio: Double? {
    guard let ours = rates[.vdpad], let theirs = rates[.dpdk] else { return nil }
    return zip(ours, theirs).filter { $1 > 0 }.map { $0 / $1 }.median
  }
}
