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
}
