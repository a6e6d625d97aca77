import Foundation
import Peers

/// The measured cells, as a table for people and as JSON for scripts.
struct Report: Sendable {
  let backEnds: [BackEndKind]
  var cells: [Cell] = []
  /// Where the front-end's memory, which all packets pass through, came from.
  var memory: PeerMemory?

  /// Packets a second in millions.
  static func mega(_ rate: Double?) -> String { rate.map { fixed($0 / 1_000_000, 3) } ?? "-" }

  static func percent(_ share: Double) -> String { fixed(share * 100, 1) + " %" }

  static func fixed(_ value: Double, _ digits: Int) -> String {
    value.formatted(.number.precision(.fractionLength(digits)).grouping(.never).locale(Locale(identifier: "C")))
  }

  func table() -> String {
    var rows = [["port", "bytes"] + backEnds.map { "\($0) Mpps" } + ["vdpad/dpdk", "waiting"]]
    for cell in cells {
      rows.append(
        ["\(cell.port)", "\(cell.size)"] + backEnds.map { Report.mega(cell.median($0)) }
          + [cell.ratio.map { Report.fixed($0, 2) } ?? "-", Report.percent(cell.disturbance)])
    }
    return textTable(rows) + (memory.map { "\nfront-end memory: \($0)" } ?? "")
  }

  private struct Row: Encodable {
    let port: String
    let bytes: Int
    let memory: String?
    /// Median packets a second by back-end.
    let packetsPerSecond: [String: Double]
    /// Packets a second of every round by back-end.
    let rounds: [String: [Double]]
    let ratio: Double?
    /// The worst share of a measurement's time that either end waited for a CPU.
    let disturbance: Double
  }

  func json() throws -> String {
    let rows = cells.map { cell in
      var medians: [String: Double] = [:]
      var rounds: [String: [Double]] = [:]
      for kind in backEnds {
        medians[kind.rawValue] = cell.median(kind)
        rounds[kind.rawValue] = cell.rates[kind]
      }
      return Row(
        port: cell.port.rawValue, bytes: cell.size, memory: memory?.description, packetsPerSecond: medians,
        rounds: rounds, ratio: cell.ratio,
        disturbance: cell.disturbance)
    }
    return try jsonText(rows)
  }
}
