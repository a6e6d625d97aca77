/// How far a run of many measurements of like length has come.
struct Countdown: Sendable {
  let total: Int
  private(set) var done = 0
  private let start: ContinuousClock.Instant

  init(_ total: Int, start: ContinuousClock.Instant = .now) {
    self.total = total
    self.start = start
  }

  /// One more is done; returns how far this is: `12 of 480, 16 min 3 s left`.
  mutating func step(at now: ContinuousClock.Instant = .now) -> String {
    done += 1
    return "\(done) of \(total), \(Figure.time(elapsed(at: now) / Double(done) * Double(total - done))) left"
  }

  /// Since the start, in seconds.
  func elapsed(at now: ContinuousClock.Instant = .now) -> Double { (now - start) / .seconds(1) }
}
