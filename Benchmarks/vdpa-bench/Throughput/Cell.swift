import Peers

/// The figures of one row: packets a second of every round.
struct Cell: Sendable {
  let plan: CellPlan
  var rates: [BackEndKind: [Double]] = [:]
  /// The worst share of a measurement's time in which other programs had the CPU of either end.
  var disturbance = 0.0
  /// The front-end's functions, with which it has driven all of the back-ends.
  var driver: DriverPath?

  func median(_ kind: BackEndKind) -> Double? { rates[kind]?.median }

  /// How far the rounds lie apart, as a share of their median.
  func spread(_ kind: BackEndKind) -> Double? {
    guard let rates = rates[kind], let median = rates.median, let least = rates.min(), let most = rates.max(),
      median > 0
    else { return nil }
    return (most - least) / median
  }

  /// A back-end's packets to DPDK's in each round, whose measurements stand next to each other in time.
  func ratios(_ kind: BackEndKind = .vdpad) -> [Double] {
    zip(rates[kind] ?? [], rates[.dpdk] ?? []).filter { $1 > 0 }.map { $0 / $1 }
  }

  /// The median of those.
  func ratio(_ kind: BackEndKind = .vdpad) -> Double? { ratios(kind).median }
}
