import Peers

/// The figures of one row: packets a second of every round.
struct Cell: Sendable {
  let plan: CellPlan
  var rates: Rounds<BackEndKind> = [:]
  /// The worst share of a measurement's time in which other programs had the CPU of either end.
  var disturbance = 0.0
  /// The front-end's functions, with which it has driven all of the back-ends.
  var driver: DriverPath?

  func median(_ kind: BackEndKind) -> Double? { rates.median(kind) }

  /// How far the rounds lie apart, as a share of their median.
  func spread(_ kind: BackEndKind) -> Double? {
    let rates = rates[kind]
    guard let median = rates.median, let least = rates.min(), let most = rates.max(), median > 0 else { return nil }
    return (most - least) / median
  }

  /// A back-end's packets to DPDK's in each round.
  func ratios(_ kind: BackEndKind = .vdpad) -> [Double] { rates.ratios(kind, to: .dpdk) }

  /// The median of those.
  func ratio(_ kind: BackEndKind = .vdpad) -> Double? { ratios(kind).median }
}
