import Foundation

/// Numbers as tables have them.
enum Figure {
  /// Packets a second in millions.
  static func mega(_ rate: Double?) -> String { rate.map { fixed($0 / 1_000_000, 3) } ?? "-" }

  static func percent(_ share: Double) -> String { fixed(share * 100, 1) + " %" }

  static func fixed(_ value: Double, _ digits: Int) -> String {
    value.formatted(.number.precision(.fractionLength(digits)).grouping(.never).locale(Locale(identifier: "C")))
  }

  /// A time in words: `4 min 10 s`.
  static func time(_ seconds: Double) -> String {
    let whole = Int(seconds.rounded())
    return whole < 60 ? "\(whole) s" : "\(whole / 60) min \(whole % 60) s"
  }
}
