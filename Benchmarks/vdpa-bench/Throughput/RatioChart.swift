/// A chart of ratios: a row for each cell, a dot for its median and a line over all of its rounds. SVG 1.1, for light and
/// dark backgrounds.
struct RatioChart: Sendable {
  /// One row.
  struct Row: Sendable {
    let label: String
    /// What rows are put together under.
    let group: String
    /// The ratios of every round.
    let ratios: [Double]
    /// Those of the other build; none without one.
    var others: [Double] = []
  }

  let title: String
  /// What the dots are, and the rings around where the others are.
  let legend: (String, String)
  let rows: [Row]

  private static let (left, plot, right) = (260.0, 520.0, 60.0)
  private static let (top, rowHeight, groupHeight, bottom) = (64.0, 18.0, 26.0, 34.0)

  /// The ratio at the right end: a multiple of a half, above all medians; a line that goes further ends there.
  private var end: Double {
    let most = rows.flatMap { [$0.ratios.median, $0.others.median] }.compactMap(\.self).max() ?? 1
    return max(1.5, (most * 2).rounded(.up) / 2)
  }

  private func x(_ ratio: Double) -> Double { RatioChart.left + min(ratio / end, 1) * RatioChart.plot }

  func svg() -> String {
    var body: [String] = []
    var y = RatioChart.top
    var group: String?
    for row in rows {
      if row.group != group {
        group = row.group
        y += RatioChart.groupHeight
        body.append(text(row.group, x: 12, y: y - 6, class: "group"))
      }
      y += RatioChart.rowHeight
      body += draw(row, y: y - RatioChart.rowHeight / 2)
    }
    let floor = y + 6
    let height = floor + RatioChart.bottom
    let width = RatioChart.left + RatioChart.plot + RatioChart.right
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(number(width))\" height=\"\(number(height))\" "
        + "viewBox=\"0 0 \(number(width)) \(number(height))\" role=\"img\" aria-label=\"\(RatioChart.escaped(title))\">",
      RatioChart.style, text(title, x: 12, y: 24, class: "title"),
    ]
    lines += key()
    for tick in stride(from: 0.0, through: end, by: 0.25) {
      let isMain = tick == 1
      lines.append(
        "<line class=\"\(isMain ? "one" : "grid")\" x1=\"\(number(x(tick)))\" x2=\"\(number(x(tick)))\" "
          + "y1=\"\(number(RatioChart.top))\" y2=\"\(number(floor))\"/>")
      if (tick * 2).rounded() == tick * 2 || isMain {
        lines.append(text(Figure.fixed(tick, 1), x: x(tick), y: floor + 16, class: "tick"))
      }
    }
    return (lines + body + ["</svg>", ""]).joined(separator: "\n")
  }

  private func draw(_ row: Row, y: Double) -> [String] {
    var lines = [text(row.label, x: 28, y: y + 4, class: "label")]
    if let least = row.ratios.min(), let most = row.ratios.max(), let median = row.ratios.median {
      let kind = median >= 1 ? "fast" : "slow"
      lines.append(
        "<line class=\"range \(kind)\" x1=\"\(number(x(least)))\" x2=\"\(number(x(most)))\" y1=\"\(number(y))\" "
          + "y2=\"\(number(y))\"/>")
      lines.append("<circle class=\"\(kind)\" cx=\"\(number(x(median)))\" cy=\"\(number(y))\" r=\"4.5\"/>")
      lines.append(text(Figure.fixed(median, 2), x: x(end) + 10, y: y + 4, class: "value"))
    }
    if let other = row.others.median {
      lines.append("<circle class=\"other\" cx=\"\(number(x(other)))\" cy=\"\(number(y))\" r=\"5.5\"/>")
    }
    return lines
  }

  private func key() -> [String] {
    var lines = [
      "<circle class=\"fast\" cx=\"18\" cy=\"42\" r=\"4.5\"/>", text(legend.0, x: 28, y: 46, class: "label"),
    ]
    if rows.contains(where: { !$0.others.isEmpty }) {
      lines.append("<circle class=\"other\" cx=\"438\" cy=\"42\" r=\"5.5\"/>")
      lines.append(text(legend.1, x: 450, y: 46, class: "label"))
    }
    return lines
  }

  private func text(_ words: String, x: Double, y: Double, class name: String) -> String {
    "<text class=\"\(name)\" x=\"\(number(x))\" y=\"\(number(y))\">\(RatioChart.escaped(words))</text>"
  }

  private func number(_ value: Double) -> String { Figure.fixed(value, 1) }

  static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing("\"", with: "&quot;")
  }

  /// Colours that are told apart by those who do not see red and green, with a contrast of 3 : 1 at least on white and on
  /// near black.
  private static let style = """
    <style>
    text { font: 12px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 15px; font-weight: 600 }
    .group { font-weight: 600 }
    .tick { text-anchor: middle }
    .grid { stroke: #8c959f; stroke-opacity: 0.35 }
    .one { stroke: #1f2328; stroke-width: 1.5 }
    .range { stroke-width: 2; stroke-opacity: 0.6 }
    .fast { fill: #0969da; stroke: #0969da }
    .slow { fill: #bc4c00; stroke: #bc4c00 }
    .other { fill: none; stroke: #6e7781; stroke-width: 1.5 }
    @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .one { stroke: #e6edf3 }
    .fast { fill: #58a6ff; stroke: #58a6ff }
    .slow { fill: #f0883e; stroke: #f0883e }
    .other { stroke: #9ea7b0 }
    }
    </style>
    """
}

extension ThroughputReport {
  /// How the cells compare, as a chart.
  var chart: RatioChart {
    RatioChart(
      title: "vdpad's packets a second to those of DPDK's net_vhost",
      legend: ("median, and all rounds (more than 1: vdpad is faster)", "compiled with -march=native"),
      rows: cells.map { cell in
        let plan = cell.plan
        let options =
          plan.port == .loopback
          ? (plan.isMergeable ? ", mergeable" : ", not mergeable") + (plan.isInOrder ? ", in order" : ", any order")
          : ""
        return RatioChart.Row(
          label: "\(plan.bytes) B", group: "\(plan.port), \(plan.format)\(options)", ratios: cell.ratios(),
          others: cell.ratios(.native))
      })
  }
}
