internal import VDPA
internal import Virtio

/// Configuring, closing, and what is between.
extension Conformance {
  static let lifecycle = [
    ConformanceRule("lifecycle.states", "Closing says where the rings stand that were started, and of no others") {
      bench in
      let device = try bench.claim()
      let all = Array(0..<device.attributes.vringCount)
      for indices in [all, bench.rings(ofQueue: 0), all, []] {
        let guest = try bench.guest(for: device, .split)
        try device.start(guest, vrings: indices)
        let states = try device.stop().map(\.index).sorted()
        try require(states == indices, "the vrings \(indices) were started, and closing tells of \(states)")
      }
    },
    ConformanceRule("lifecycle.repeated", "A device serves as often as it is configured") { bench in
      let device = try bench.claim()
      for _ in 0..<40 {
        let guest = try bench.guest(for: device, .split)
        let probe = try bench.probe(guest)
        try device.start(guest)
        for _ in 0..<5 { try probe.exchange() }
        try device.stop()
      }
    },
    ConformanceRule("lifecycle.reclaimed", "A device that was given back while it ran serves who claims it next") {
      bench in
      for _ in 0..<3 {
        let device = try bench.claim()
        let guest = try bench.guest(for: device, .split)
        let probe = try bench.probe(guest)
        try device.start(guest)
        try probe.exchange()
        bench.release(device)
      }
    },
    ConformanceRule("lifecycle.early-vring", "A vring may be set before the device is configured, which repeats it") {
      bench in
      let device = try bench.claim()
      let guest = try bench.guest(for: device, .split)
      let probe = try bench.probe(guest)
      for vring in guest.vrings {
        let setup = DeviceSetup.Vring(vring.description, isEnabled: true)
        try device.context.wait(within: device.patience) { $0.setVring(setup, completion: $1) }
      }
      try device.start(guest)
      try probe.exchange()
    },
    ConformanceRule("lifecycle.late-vring", "A vring may be started while the device runs") { bench in
      let device = try bench.claim()
      let guest = try bench.guest(for: device, .split)
      let probe = try bench.probe(guest)
      try device.start(guest, vrings: [])
      for index in bench.rings(ofQueue: 0) { try device.start(vring: index) }
      try probe.exchange()
      let states = try device.stop().map(\.index).sorted()
      try require(states == bench.rings(ofQueue: 0), "closing tells of the vrings \(states)")
    },
    ConformanceRule("lifecycle.disabled", "A net ring that is disabled has no effect before it is enabled") { bench in
      guard bench.suite.type == .net else {
        throw ConformanceEnd.skip(missing: "packets that a disabled ring could drop")
      }
      let device = try bench.claim()
      let guest = try bench.guest(for: device, .split)
      let probe = try NetProbe(guest, pair: 0, patience: bench.suite.patience)
      try device.start(guest, isEnabled: false)
      try probe.send()
      let hasCome = try probe.receive(within: .milliseconds(100))
      try require(!hasCome, "a packet has come back over disabled rings")
      for index in bench.rings(ofQueue: 0) { try device.setEnabled(true, vring: index) }
      // What was sent before may have been dropped, or comes now.
      try probe.send()
      try require(
        try probe.receive(within: bench.suite.patience), "no packet comes back after the rings were enabled")
    },
  ]
}
