internal import VDPA
internal import Virtio

/// What a device must not do once it has stopped.
extension Conformance {
  static let silence = [
    ConformanceRule("silence.memory", "After a close no byte of guest memory is written") { bench in
      try closed(bench) { guest in
        let before = contents(guest)
        return {
          let changed = zip(before, contents(guest)).contains { $0 != $1 }
          try require(!changed, "guest memory has changed after the close")
        }
      }
    },
    ConformanceRule("silence.calls", "After a close nobody is called") { bench in
      try closed(bench) { guest in
        for vring in guest.vrings { vring.takeCalls() }
        return {
          for vring in guest.vrings {
            try require(vring.takeCalls() == 0, "vring \(vring.index) was called after the close")
          }
        }
      }
    },
    ConformanceRule("silence.vring", "A vring that was stopped alone is neither written nor called") { bench in
      let device = try bench.claim()
      guard device.context.canStopVrings else { throw ConformanceEnd.skip(missing: "way to stop single vrings") }
      for format in bench.formats(of: device) {
        let guest = try bench.guest(for: device, format)
        let probe = try bench.probe(guest)
        try device.start(guest)
        try probe.exchange()
        let vring = guest.vrings[bench.requestRing(ofQueue: 0)]
        _ = try device.stop(vring: vring.index)
        vring.takeCalls()
        let answers = try bench.offerRequest(guest)
        let before = parts(of: vring, answers, guest)
        bench.listen()
        try require(parts(of: vring, answers, guest) == before, "vring \(vring.index) was written after it was stopped")
        try require(vring.takeCalls() == 0, "vring \(vring.index) was called after it was stopped")
        try device.stop()
      }
    },
  ]

  /// Closes a device with requests in its rings, and has it kicked.
  ///
  /// - Parameter watch: Looks at the guest then; what it returns says whether anything has happened since.
  private static func closed(_ bench: ConformanceBench, watch: (DriverGuest) -> () throws -> Void) throws {
    let device = try bench.claim()
    for format in bench.formats(of: device) {
      let guest = try bench.guest(for: device, format)
      let probe = try bench.probe(guest)
      try device.start(guest)
      for _ in 0..<10 { try probe.exchange() }
      try device.stop()
      for queue in 0..<device.attributes.queueCount { try bench.offerRequest(guest, queue: queue) }
      let check = watch(guest)
      bench.listen()
      try check()
    }
  }

  private static func contents(_ guest: DriverGuest) -> [[UInt8]] {
    guest.memory.regions.map { guest.memory.read($0.region.guestAddress, count: Int($0.region.size)) }
  }

  /// What a device writes that serves a vring.
  private static func parts(of vring: DriverVring, _ answers: [Range<UInt64>], _ guest: DriverGuest) -> [[UInt8]] {
    let areas =
      answers + [vring.descriptor..<vring.descriptor + UInt64(vring.layout.descriptorBytes)]
      + [vring.used..<vring.used + UInt64(vring.layout.usedBytes)]
    return areas.map { guest.memory.read($0.lowerBound, count: $0.count) }
  }
}
