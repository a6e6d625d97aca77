import Testing
import Virtio

@testable import vdpa_bench

/// What is compared does the same: every byte of a lap, in both codes.
@Suite struct RingMeasurementTests {
  /// Lengths that are copied in different ways.
  private static let cases = RingCase.all(
    formats: [.split, .packed], directions: [.dequeue, .enqueue], bytes: [1, 30, 64, 1500], size: 64,
    regions: [1, 7], mergeable: [true, false])

  @Test(arguments: RingSide.allCases) func movesEveryByte(_ side: RingSide) throws {
    for ringCase in Self.cases {
      let measurement = try RingMeasurement(ringCase, laps: 3)
      try measurement.verify(side)
      // Several laps: positions and wrap counters go on.
      #expect(try measurement.nanoseconds(side) > 0)
    }
  }

  @Test(arguments: Port.allCases) func turnsMoveABurstOfEachPair(_ port: Port) throws {
    for format in [RingLayout.Format.split, .packed] {
      #expect(try DatapathCase(port: port, format: format, pairs: 3).count(laps: 2) == 2 * 3 * 256)
    }
  }
}
