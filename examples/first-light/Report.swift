import Foundation

/// The observations, as a table for people and as JSON for scripts.
struct Report {
  private struct Row: Encodable {
    let socket: String
    let engine: Int
    let device: Int
    let datapath: String
    let packetsIn: UInt64
    let packetsOut: UInt64
    let lost: Int64
    let packetsPerSecond: UInt64

    init(_ seen: Observation) {
      socket = seen.socket.name
      engine = seen.socket.engine
      device = seen.socket.device
      datapath = seen.socket.datapath
      packetsIn = seen.frontEnd.packetsIn
      packetsOut = seen.frontEnd.packetsOut
      lost = seen.lost
      packetsPerSecond = UInt64(max(0, seen.packetsPerSecond.rounded()))
    }

    static let header = ["socket", "engine", "device", "datapath", "packets in", "packets out", "lost", "packets/s"]

    /// Words stand to the left of their column, figures to the right.
    static let words: Set = [0, 3]

    var cells: [String] {
      [socket, "\(engine)", "\(device)", datapath, "\(packetsIn)", "\(packetsOut)", "\(lost)", "\(packetsPerSecond)"]
    }
  }

  private let rows: [Row]

  init(_ observations: [Observation]) { rows = observations.map(Row.init) }

  func table() -> String {
    let lines = [Row.header] + rows.map(\.cells)
    let widths = Row.header.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
    return lines.map { line in
      line.enumerated().map { column, text in
        let space = String(repeating: " ", count: widths[column] - text.count)
        return Row.words.contains(column) ? text + space : space + text
      }.joined(separator: "  ")
    }.joined(separator: "\n")
  }

  func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    return String(decoding: try encoder.encode(rows), as: UTF8.self)
  }
}
