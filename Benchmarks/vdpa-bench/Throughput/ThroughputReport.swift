import Peers

/// The measured cells, as a table for people and as JSON for scripts.
struct ThroughputReport: Sendable {
  let backEnds: [BackEndKind]
  var cells: [Cell] = []
  /// Where the front-end's memory, which all packets pass through, came from.
  var memory: PeerMemory?

  /// What every cell is to reach, and what half of them are to.
  static let wanted = 1.0
  static let wantedOfHalf = 1.2

  /// Whether vdpad has been compared with something.
  private var isComparison: Bool { backEnds.contains(.vdpad) && backEnds.contains(.dpdk) }

  func table() -> String {
    var head = ["port", "rings", "bytes", "mergeable", "in order"]
    for kind in backEnds { head += ["\(kind) Mpps", "spread"] }
    if isComparison { head += ["vdpad/dpdk", "≥ 1.0", "≥ 1.2"] }
    if isComparison && backEnds.contains(.native) { head.append("native/dpdk") }
    let rows = cells.map { cell in
      let plan = cell.plan
      var row = ["\(plan.port)", "\(plan.format)", "\(plan.bytes)"]
      row += [plan.isMergeable, plan.isInOrder].map { $0 ? "on" : "off" }
      for kind in backEnds {
        row += [Figure.mega(cell.median(kind)), cell.spread(kind).map { Figure.percent($0) } ?? "-"]
      }
      if isComparison {
        row.append(cell.ratio().map { Figure.fixed($0, 2) } ?? "-")
        row += [ThroughputReport.wanted, ThroughputReport.wantedOfHalf].map { isReached($0, cell) ? "yes" : "no" }
        if backEnds.contains(.native) { row.append(cell.ratio(.native).map { Figure.fixed($0, 2) } ?? "-") }
      }
      return row + [Figure.percent(cell.disturbance)]
    }
    var text = textTable([head + ["waiting"]] + rows)
    if let memory { text += "\nfront-end memory: \(memory)" }
    if isComparison { text += "\n" + summary }
    return text
  }

  private func isReached(_ limit: Double, _ cell: Cell) -> Bool { cell.ratio().map { $0 >= limit } ?? false }

  /// How many cells are as fast as DPDK, and much faster, and which are not.
  var summary: String {
    let slow = cells.filter { !isReached(ThroughputReport.wanted, $0) }
    let fast = cells.count { isReached(ThroughputReport.wantedOfHalf, $0) }
    return
      "\(cells.count - slow.count) of \(cells.count) cells reach 1.0 × DPDK (all are to), \(fast) reach 1.2 × (half are to)"
      + (slow.isEmpty ? "" : "\nbelow 1.0: " + slow.map(\.plan.name).joined(separator: "; "))
  }

  private struct Row: Encodable {
    let name: String
    let port: String
    let format: String
    let bytes: Int
    let mergeable: Bool
    let inOrder: Bool
    /// Median packets a second by back-end.
    let packetsPerSecond: [String: Double]
    /// Packets a second of every round by back-end.
    let rounds: [String: [Double]]
    let ratio: Double?
    let nativeRatio: Double?
    /// The worst share of a measurement's time that either end waited for a CPU.
    let disturbance: Double
    /// The functions of the front-end's driver.
    let driver: String?
  }

  private struct Document: Encodable {
    let memory: String?
    let cells: [Row]
    let reachEqual: Int
    let reachFaster: Int
  }

  func json() throws -> String {
    let rows = cells.map { cell in
      let plan = cell.plan
      return Row(
        name: plan.name, port: plan.port.rawValue, format: plan.format.rawValue, bytes: plan.bytes,
        mergeable: plan.isMergeable, inOrder: plan.isInOrder, packetsPerSecond: cell.rates.mediansByName,
        rounds: cell.rates.byName,
        ratio: cell.ratio(), nativeRatio: cell.ratio(.native), disturbance: cell.disturbance,
        driver: cell.driver?.description)
    }
    return try jsonText(
      Document(
        memory: memory?.description, cells: rows,
        reachEqual: cells.count { isReached(ThroughputReport.wanted, $0) },
        reachFaster: cells.count { isReached(ThroughputReport.wantedOfHalf, $0) }))
  }
}
