import Foundation

/// How long answers took.
struct Latencies: Sendable {
  /// In nanoseconds.
  private var samples: [UInt64] = []
  /// The share of the time in which either end was ready to run and another program had its CPU.
  var disturbance = 0.0

  mutating func add(_ nanoseconds: UInt64) { samples.append(nanoseconds) }

  /// The latency that this share of the answers did not exceed, in microseconds.
  func percentile(_ share: Double) -> Double {
    guard !samples.isEmpty else { return .nan }
    let sorted = samples.sorted()
    let rank = (Double(sorted.count) * share).rounded(.up)
    return Double(sorted[min(max(Int(rank), 1), sorted.count) - 1]) / 1000
  }

  /// How many there are.
  var count: Int { samples.count }

  /// A picture of them for a terminal: a line for each fifth of a power of ten, from the shortest to the longest.
  func histogram(width: Int = 50) -> String {
    guard let least = samples.min(), let most = samples.max() else { return "" }
    func bucket(_ nanoseconds: UInt64) -> Int { Int((log10(Double(max(nanoseconds, 1))) * 5).rounded(.down)) }
    var counts: [Int: Int] = [:]
    for sample in samples { counts[bucket(sample), default: 0] += 1 }
    let highest = counts.values.max() ?? 1
    return textTable(
      (bucket(least)...bucket(most)).map { index in
        let count = counts[index, default: 0]
        // What is there is seen.
        let bar = count == 0 ? 0 : max(1, (count * width + highest / 2) / highest)
        let padded = String(repeating: "█", count: bar) + String(repeating: " ", count: width - bar)
        return ["", "from \(Figure.fixed(pow(10, Double(index) / 5) / 1000, 1)) µs", "\(count)", padded]
      })
  }
}
