/// The figures of all loads and back-ends, as a table for people and as JSON for scripts.
struct BlockReport: Sendable {
  /// The requests a second of every round, by back-end.
  struct Row: Sendable {
    let load: BlockLoad
    var rates: Rounds<BlockServer> = [:]
    /// The worst share of a measurement's time in which other programs had the CPU of the front-end.
    var disturbance = 0.0

    /// The requests of a back-end to those of the better of its references in the same round, the median over the rounds.
    func ratio(_ server: BlockServer) -> Double? {
      let ours = rates[server]
      let theirs = BlockServer.allCases.filter(\.isReference).map { rates[$0] }
      return ours.indices.compactMap { round in
        let best = theirs.compactMap { $0.indices.contains(round) ? $0[round] : nil }.max()
        return best.flatMap { $0 > 0 ? ours[round] / $0 : nil }
      }.median
    }
  }

  let servers: [BlockServer]
  var rows: [Row] = []

  private var own: [BlockServer] { servers.filter { !$0.isReference } }

  func table() -> String {
    let titles = servers.map { "\($0) k/s" } + own.map { "\($0)/qsd" }
    var lines = [["load"] + titles + ["waiting"]]
    for row in rows {
      lines.append(
        ["\(row.load.order) \(row.load.direction) \(row.load.length) B x \(row.load.depth)"]
          + servers.map { row.rates.median($0).map { Figure.fixed($0 / 1000, 1) } ?? "-" }
          + own.map { row.ratio($0).map { Figure.fixed($0, 2) } ?? "-" } + [Figure.percent(row.disturbance)])
    }
    return textTable(lines)
  }

  private struct Encoded: Encodable {
    let direction: String
    let order: String
    let bytes: Int
    let depth: Int
    /// Median requests a second by back-end.
    let requestsPerSecond: [String: Double]
    /// Requests a second of every round by back-end.
    let rounds: [String: [Double]]
    /// To the better of the references.
    let ratios: [String: Double]
    let disturbance: Double
  }

  func json() throws -> String {
    let encoded = rows.map { row in
      Encoded(
        direction: row.load.direction.rawValue, order: row.load.order.rawValue, bytes: row.load.length,
        depth: row.load.depth, requestsPerSecond: row.rates.mediansByName, rounds: row.rates.byName,
        ratios: Dictionary(
          uniqueKeysWithValues: own.compactMap { server in row.ratio(server).map { (server.rawValue, $0) } }),
        disturbance: row.disturbance)
    }
    return try jsonText(encoded)
  }
}
