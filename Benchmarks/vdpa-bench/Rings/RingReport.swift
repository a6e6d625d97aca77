import Foundation
import Virtio

/// The measured cases of ring code, as a table for people and as JSON for scripts.
struct RingReport: Sendable {
  /// Nanoseconds a packet of every round by code.
  struct Row: Sendable {
    let ringCase: RingCase
    var nanoseconds: Rounds<RingSide> = [:]

    /// C's time to Swift's, the median over the rounds.
    var ratio: Double? { nanoseconds.ratio(.c, to: .swift) }
  }

  /// Whether the programs were compiled for the very machine.
  let isNative: Bool
  var rows: [Row] = []

  func table() -> String {
    let rows =
      [["rings", "swift ns", "c ns", "c/swift"]]
      + rows.map { row in
        [row.ringCase.name]
          + ([row.nanoseconds.median(.swift), row.nanoseconds.median(.c), row.ratio]).map {
            $0.map { Figure.fixed($0, 2) } ?? "-"
          }
      }
    return textTable(rows) + "\ncompiled for " + (isNative ? "this machine (-march=native)" : "any machine of its kind")
  }

  private struct Line: Encodable {
    let name: String
    let format: String
    let direction: String
    let bytes: Int
    let size: Int
    let regions: Int
    let mergeable: Bool
    let native: Bool
    /// Median nanoseconds a packet by code.
    let nanoseconds: [String: Double]
    let rounds: [String: [Double]]
    let ratio: Double?
  }

  func json() throws -> String {
    let lines = rows.map { row in
      let ringCase = row.ringCase
      return Line(
        name: ringCase.name, format: "\(ringCase.format)", direction: ringCase.direction.rawValue,
        bytes: ringCase.bytes, size: ringCase.size, regions: ringCase.regions, mergeable: ringCase.isMergeable,
        native: isNative, nanoseconds: row.nanoseconds.mediansByName, rounds: row.nanoseconds.byName,
        ratio: row.ratio)
    }
    return try jsonText(lines)
  }
}
