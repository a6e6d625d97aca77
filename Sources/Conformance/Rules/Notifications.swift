internal import Glibc
internal import VDPA
internal import Virtio

/// Calls.
extension Conformance {
  static let notifications = [
    ConformanceRule("calls.asked-for", "A driver that asks for a call gets one") { bench in
      let device = try bench.claim()
      for format in bench.formats(of: device) {
        let guest = try bench.guest(for: device, format)
        let vring = guest.vrings[bench.requestRing(ofQueue: 0)]
        try device.start(guest)
        // The call that a device makes at the start is not the one that is waited for.
        try answer(bench, guest, expecting: nil)
        vring.takeCalls()
        try answer(bench, guest, expecting: vring.call)
        try device.stop()
      }
    },
    ConformanceRule("calls.changed", "Calls go to the descriptor that a running vring was given last") { bench in
      let device = try bench.claim()
      let guest = try bench.guest(for: device, .split)
      try device.start(guest)
      let index = bench.requestRing(ofQueue: 0)
      guard var setup = device.setup?.vrings.first(where: { $0.description.index == index }) else { return }
      let call = try EventFD.make()
      setup.description.call = call
      try device.context.wait(within: device.patience) { $0.setVring(setup, completion: $1) }
      // What was said at once, because a call may have been lost.
      try answer(bench, guest, expecting: nil)
      EventFD.drain(call)
      try answer(bench, guest, expecting: call)
    },
  ]

  /// Asks the device for something and waits until it is done.
  private static func answer(_ bench: ConformanceBench, _ guest: DriverGuest, expecting call: OwnedFD?) throws {
    let vring = guest.vrings[bench.requestRing(ofQueue: 0)]
    if bench.suite.type == .net {
      _ = guest.vrings[0].add(writable: [(try guest.memory.allocate(2048), 2048)])
      guest.vrings[0].publish()
    }
    vring.setWantsCalls(true)
    try bench.offerRequest(guest)
    let deadline = Deadline(after: bench.suite.patience)
    if let call {
      var entry = pollfd(fd: call.rawValue, events: Int16(POLLIN), revents: 0)
      _ = unsafe poll(&entry, 1, deadline.milliseconds)
      try require(
        entry.revents & Int16(POLLIN) != 0, "vring \(vring.index) was not called within \(bench.suite.patience)")
    }
    while try vring.collect() == nil {
      try require(!deadline.hasPassed, "vring \(vring.index) has returned nothing within \(bench.suite.patience)")
      usleep(100)
    }
  }
}
