import Testing
import VDPA

struct LatencyHistogramTests {
  @Test("Percentiles are those of the values, at most 1/32 too long")
  func percentiles() {
    var histogram = LatencyHistogram()
    #expect(histogram.percentile(0.5) == 0)
    var values: [UInt64] = []
    for i in 0..<5000 {
      // All orders of magnitude.
      let value = UInt64(i + 1) &* 0x9e37_79b9_7f4a_7c15 >> UInt64(i % 64)
      values.append(value)
      histogram.record(value)
    }
    values.sort()
    #expect(histogram.count == 5000 && histogram.maximum == values[4999])
    for share in [0.0001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1] {
      let exact = values[max(0, Int((share * 5000).rounded(.up)) - 1)]
      let said = histogram.percentile(share)
      #expect(said >= exact && said - exact <= exact / 32, "\(share): \(said) for \(exact)")
    }
  }

  @Test("Every power of two and its neighbours are where they belong")
  func edges() {
    for power in 0..<64 {
      for value in [UInt64(1) << UInt64(power) &- 1, 1 << UInt64(power), (1 << UInt64(power)) &+ 1, .max] {
        var histogram = LatencyHistogram()
        histogram.record(value)
        #expect(histogram.percentile(0.5) == value)
      }
    }
  }

  @Test("Two histograms are the same as one of all values")
  func merge() {
    var (one, two, all) = (LatencyHistogram(), LatencyHistogram(), LatencyHistogram())
    for i in 0..<1000 as Range<UInt64> {
      if i % 3 == 0 { one.record(i * i) } else { two.record(i * i) }
      all.record(i * i)
    }
    one.merge(two)
    #expect(one == all)
  }
}
