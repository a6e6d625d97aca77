internal import VDPA
internal import Virtio

/// Counters.
extension Conformance {
  static let statistics = [
    ConformanceRule("statistics.monotonic", "Counters only grow, and count what was moved") { bench in
      let device = try bench.claim()
      guard var last = device.statistics else { throw ConformanceEnd.skip(missing: "counters") }
      let before = last
      let traffic = try bench.traffic(for: device, bench.features(.split, of: device))
      try device.start(traffic.guest)
      for _ in 0..<10 {
        try bench.begin(traffic, 50)
        guard let now = device.statistics else { return }
        for (index, (old, new)) in zip(last, now).enumerated() {
          try require(
            new.packets >= old.packets && new.bytes >= old.bytes && new.calls >= old.calls && new.kicks >= old.kicks,
            "vring \(index): a counter has become less")
        }
        last = now
      }
      try bench.finish(traffic)
      try device.stop()
      guard let end = device.statistics else { return }
      for index in 0..<end.count {
        let count = end[index].packets - before[index].packets
        try require(count >= 500, "vring \(index) has moved 500 and more, and counts \(count)")
      }
    }
  ]
}
