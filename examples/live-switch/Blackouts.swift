import Foundation

/// For how long a guest got no packet at the switches of one direction.
struct Blackouts {
  private let name: String
  /// In nanoseconds.
  private var times: [UInt64] = []

  init(_ name: String) { self.name = name }

  var isEmpty: Bool { times.isEmpty }

  mutating func add(_ nanoseconds: UInt64) { times.append(nanoseconds) }

  /// Median, 99th percentile and longest, and how often each time was met, in buckets of a fifth of a power of ten.
  var picture: String {
    let sorted = times.sorted()
    func percentile(_ share: Double) -> String {
      let rank = Int((Double(sorted.count) * share).rounded(.up))
      return milliseconds(sorted[min(max(rank, 1), sorted.count) - 1])
    }
    var lines = [
      "\(name): median \(percentile(0.5)), 99 % within \(percentile(0.99)), longest \(percentile(1)) "
        + "(\(times.count) switches)"
    ]
    func bucket(_ nanoseconds: UInt64) -> Int { Int((log10(Double(max(nanoseconds, 1))) * 5).rounded(.down)) }
    let counts = Dictionary(grouping: times, by: bucket).mapValues(\.count)
    let most = counts.values.max() ?? 1
    for index in (counts.keys.min() ?? 0)...(counts.keys.max() ?? 0) {
      let count = counts[index, default: 0]
      let start = milliseconds(UInt64(pow(10, Double(index) / 5)))
      let bar = String(repeating: "█", count: count == 0 ? 0 : max(1, count * 40 / most))
      lines.append("  from " + pad(start, 10) + pad("\(count)", 6) + "  " + bar)
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private func milliseconds(_ nanoseconds: UInt64) -> String {
    String(format: "%.3f ms", Double(nanoseconds) / 1_000_000)
  }

  private func pad(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(width - text.count, 0)) + text
  }
}
