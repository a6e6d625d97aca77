/// How often times were measured, in buckets of at most 1/32 of their value (3 %): fixed memory, whatever is recorded.
public struct LatencyHistogram: Sendable, Hashable {
  private static let fractionBits = 5
  private static let fractions = 1 << fractionBits

  private var buckets = [UInt64](repeating: 0, count: (64 - fractionBits + 1) * fractions)
  /// How many times were recorded.
  public private(set) var count: UInt64 = 0
  /// The longest of them in nanoseconds, exactly.
  public private(set) var maximum: UInt64 = 0

  /// An empty histogram.
  public init() {}

  /// Records a time in nanoseconds.
  public mutating func record(_ nanoseconds: UInt64) {
    buckets[LatencyHistogram.bucket(of: nanoseconds)] += 1
    count += 1
    maximum = max(maximum, nanoseconds)
  }

  /// Adds what another one has recorded.
  public mutating func merge(_ other: LatencyHistogram) {
    for i in buckets.indices { buckets[i] += other.buckets[i] }
    count += other.count
    maximum = max(maximum, other.maximum)
  }

  /// The time in nanoseconds below or at which a share of those recorded lies, at most 1/32 too long.
  ///
  /// - Parameter share: From 0 to 1: 0.99 for the 99th percentile.
  /// - Returns: 0 when nothing was recorded.
  public func percentile(_ share: Double) -> UInt64 {
    let rank = max(1, UInt64((share * Double(count)).rounded(.up)))
    var seen: UInt64 = 0
    for i in buckets.indices {
      seen += buckets[i]
      if seen >= rank { return min(LatencyHistogram.end(of: i), maximum) }
    }
    return maximum
  }

  /// Below 32 each value has its own bucket; above, each power of two has 32.
  private static func bucket(of value: UInt64) -> Int {
    guard value >= UInt64(fractions) else { return Int(value) }
    let shift = 63 - fractionBits - value.leadingZeroBitCount
    return (shift + 1) * fractions + Int(value >> UInt64(shift)) - fractions
  }

  /// The largest value of a bucket.
  private static func end(of bucket: Int) -> UInt64 {
    let (power, fraction) = bucket.quotientAndRemainder(dividingBy: fractions)
    guard power > 0 else { return UInt64(fraction) }
    let first = UInt64(fraction + fractions) << UInt64(power - 1)
    return first + ((1 << UInt64(power - 1)) - 1)
  }
}
