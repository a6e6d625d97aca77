import VDPA

/// What a self-test has found, as a table for people and as JSON for scripts.
struct SelfTestReport {
  let pairs: [TrafficReport]
  let seconds: Double
  /// What ended it early; nil when nothing did.
  let failure: String?

  var isClean: Bool { failure == nil && pairs.allSatisfy(\.isClean) }

  private var total: TrafficReport {
    var total = TrafficReport()
    for pair in pairs { total.merge(pair) }
    return total
  }

  /// The percentiles of latency that are shown.
  private static let shares = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1)]

  // MARK: For people

  var text: String {
    var lines = [
      SelfTestReport.row(["pair"] + total.counters.map(\.name) + SelfTestReport.shares.map { "\($0.0) µs" })
    ]
    for (i, pair) in pairs.enumerated() { lines.append(SelfTestReport.row("\(i)", pair)) }
    let total = total
    if pairs.count > 1 { lines.append(SelfTestReport.row("all", total)) }
    if total.reconnects > 0 {
      lines.append(
        "reconnected \(total.reconnects) times; of \(total.inFlightAtReconnect) packets in flight then, "
          + "\(total.lostAtReconnect) did not come back and \(total.repeatedAtReconnect) came twice")
    }
    if let failure { lines.append("FAILED: \(failure)") }
    if total.sent > 0, total.received == 0 {
      lines.append("Nothing has come back: has the back-end a port that gives packets back (--port loopback)?")
    }
    let rate = seconds > 0 ? Double(total.received) / seconds : 0
    lines.append("\(isClean ? "clean" : "NOT CLEAN"), \(Int(rate)) packets/s there and back")
    return lines.joined(separator: "\n")
  }

  private static func row(_ name: String, _ report: TrafficReport) -> String {
    row(
      [name] + report.counters.map { "\($0.value)" }
        + shares.map { _, share in tenths(report.latency.percentile(share)) })
  }

  private static func row(_ cells: [String]) -> String {
    cells.map { String(repeating: " ", count: max(1, 12 - $0.count)) + $0 }.joined()
  }

  /// Nanoseconds as microseconds with one decimal.
  private static func tenths(_ nanoseconds: UInt64) -> String {
    "\(nanoseconds / 1000).\(nanoseconds % 1000 / 100)"
  }

  // MARK: For scripts

  /// One object; every key stands in it, and all values but the failure's text are numbers or truth values.
  var json: String {
    let pairs = pairs.enumerated().map { SelfTestReport.object([("pair", "\($0)")] + SelfTestReport.members($1)) }
    return SelfTestReport.object(
      [
        ("clean", "\(isClean)"), ("seconds", "\(seconds)"), ("failure", failure.map(SelfTestReport.quoted) ?? "null"),
        ("total", SelfTestReport.object(SelfTestReport.members(total))), ("pairs", "[\(pairs.joined(separator: ","))]"),
      ])
  }

  private static func members(_ report: TrafficReport) -> [(String, String)] {
    report.counters.map { ($0.name, "\($0.value)") } + [
      ("peakInFlight", "\(report.peakInFlight)"), ("reconnects", "\(report.reconnects)"),
      ("inFlightAtReconnect", "\(report.inFlightAtReconnect)"), ("lostAtReconnect", "\(report.lostAtReconnect)"),
      ("repeatedAtReconnect", "\(report.repeatedAtReconnect)"),
      ("latencyNanoseconds", object(shares.map { ($0.0, "\(report.latency.percentile($0.1))") })),
    ]
  }

  private static func object(_ members: [(String, String)]) -> String {
    "{" + members.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": result += "\\\(scalar)"
      case _ where scalar.value < 0x20:
        result += "\\u00" + (scalar.value < 0x10 ? "0" : "") + String(scalar.value, radix: 16)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
