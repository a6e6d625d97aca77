internal import VDPA
internal import Virtio

/// Where rings stand.
extension Conformance {
  static let vringStates = [
    ConformanceRule("state.traffic", "Rings carry traffic, lap after lap, with and without what is negotiated for them")
    { bench in
      let device = try bench.claim()
      let offered = device.attributes.features
      for format in bench.formats(of: device) {
        let all = bench.features(format, of: device)
        let plain = all.subtracting([.eventIndex, .indirectDescriptors])
        for features in Set([all, plain, all.union(offered.intersection(.inOrder))]) {
          let traffic = try bench.traffic(for: device, features)
          try device.start(traffic.guest)
          try bench.finish(traffic, 1000)
          try device.stop()
        }
      }
    },
    ConformanceRule("state.positions", "Closing says where the rings stand, with nothing in flight") { bench in
      let device = try bench.claim()
      for format in bench.formats(of: device) {
        let traffic = try bench.traffic(for: device, bench.features(format, of: device))
        try device.start(traffic.guest)
        try bench.begin(traffic, 200)
        for state in try device.stop() where traffic.guest.vrings.indices.contains(state.index) {
          let own = traffic.guest.vrings[state.index].description.state
          try require(state == own, "\(format): closing says \(name(state)), and the driver has come to \(name(own))")
        }
      }
    },
    ConformanceRule("state.single", "A vring that was stopped alone says where it stands, and goes on from there") {
      bench in
      let device = try bench.claim()
      guard device.context.canStopVrings else { throw ConformanceEnd.skip(missing: "way to stop single vrings") }
      for format in bench.formats(of: device) {
        let traffic = try bench.traffic(for: device, bench.features(format, of: device))
        try device.start(traffic.guest)
        let vring = traffic.guest.vrings[bench.requestRing(ofQueue: 0)]
        for _ in 0..<5 {
          try bench.begin(traffic, 50)
          let state = try device.stop(vring: vring.index)
          let own = vring.description.state
          try require(state == own, "\(format): it says \(name(state)), and the driver has come to \(name(own))")
          guard device.attributes.startsAnywhere else { break }
          try device.start(vring: vring.index)
        }
        if device.attributes.startsAnywhere { try bench.finish(traffic) }
        try device.stop()
      }
    },
    ConformanceRule("state.continues", "Where a device has stopped it goes on, and nothing is lost or comes twice") {
      bench in
      let device = try bench.claim()
      guard device.attributes.startsAnywhere else { throw ConformanceEnd.skip(missing: "start but at position 0") }
      for format in bench.formats(of: device) {
        let traffic = try bench.traffic(for: device, bench.features(format, of: device))
        for _ in 0..<5 {
          try device.start(traffic.guest)
          try bench.begin(traffic, 100)
          try device.stop()
        }
        try device.start(traffic.guest)
        try bench.finish(traffic)
        try device.stop()
      }
    },
    ConformanceRule("state.wrap", "A ring may start anywhere, and its positions wrap around") { bench in
      let device = try bench.claim()
      guard device.attributes.startsAnywhere else { throw ConformanceEnd.skip(missing: "start but at position 0") }
      for format in bench.formats(of: device) {
        // Packed: the tenth descriptor from the ring's end, in a lap with wrap counter 0.
        let size = min(64, device.attributes.maxRingSize)
        let start = format == .split ? 0xffc0 : UInt16(max(size - 10, 0))
        let traffic = try bench.traffic(
          for: device, bench.features(format, of: device), ringSize: size, startingAt: start)
        try device.start(traffic.guest)
        try bench.finish(traffic, 300)
        try device.stop()
      }
    },
    ConformanceRule("state.ring-sizes", "Rings may be of any size up to the largest") { bench in
      let device = try bench.claim()
      let largest = device.attributes.maxRingSize
      for format in bench.formats(of: device) {
        for size in Set([16, 128, largest]) where size <= largest {
          let guest = try bench.guest(for: device, format, ringSize: size)
          let probe = try bench.probe(guest)
          try device.start(guest)
          for _ in 0..<20 { try probe.exchange() }
          try device.stop()
        }
      }
    },
  ]

  private static func name(_ state: VringState) -> String {
    "vring \(state.index) at 0x\(String(state.nextAvail, radix: 16)), used 0x\(String(state.nextUsed, radix: 16))"
  }
}
