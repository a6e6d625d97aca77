internal import VDPA
internal import Virtio

/// Rings that go from one device to another while the guest's driver goes on.
extension Conformance {
  static let handover = [
    ConformanceRule("handover.away", "Another device takes the rings over, and nothing is lost or comes twice") {
      bench in
      try handOver(bench, times: 1)
    },
    ConformanceRule("handover.back", "A device takes rings back that another one has moved on") { bench in
      try handOver(bench, times: 4)
    },
  ]

  private static func handOver(_ bench: ConformanceBench, times: Int) throws {
    let device = try bench.claim()
    let other = try bench.partner(of: device)
    guard times == 1 || device.attributes.startsAnywhere else {
      throw ConformanceEnd.skip(missing: "start but at position 0")
    }
    guard other.attributes.startsAnywhere else {
      throw ConformanceEnd.skip(missing: "partner that begins anywhere")
    }
    let formats = bench.formats(of: device).filter { bench.formats(of: other).contains($0) }
    for format in formats {
      let traffic = try bench.traffic(for: device, bench.features(format, of: device, other))
      try device.start(traffic.guest)
      var (from, to) = (device, other)
      for _ in 0..<times {
        try bench.begin(traffic, 100)
        try from.handOver(to: to)
        (from, to) = (to, from)
      }
      try bench.finish(traffic, 100)
      try from.stop()
    }
  }
}
