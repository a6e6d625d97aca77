internal import Glibc
internal import VDPA
internal import Virtio

/// Calls.
extension Conformance {
  static let notifications = [
    ConformanceRule("kicks.start", "What is in the rings when a device starts is found without a kick") { bench in
      let device = try bench.claim()
      for format in bench.formats(of: device) {
        let guest = try bench.guest(for: device, format)
        let vring = try ask(bench, guest)
        for vring in guest.vrings { EventFD.drain(vring.kick) }
        try device.start(guest)
        try finish(vring, bench)
        try device.stop()
      }
    },
    ConformanceRule("calls.start", "A driver is called when a device starts: what was before it may have called nobody")
    { bench in
      let device = try bench.claim()
      let guest = try bench.guest(for: device, .split)
      try device.start(guest)
      for vring in guest.vrings { try expect(vring.call, of: vring, bench) }
    },
    ConformanceRule("calls.asked-for", "A driver that asks for a call gets one") { bench in
      let device = try bench.claim()
      for format in bench.formats(of: device) {
        let guest = try bench.guest(for: device, format)
        let vring = guest.vrings[bench.requestRing(ofQueue: 0)]
        try device.start(guest)
        // The call that a device makes at the start is not the one that is waited for.
        try finish(ask(bench, guest), bench)
        vring.takeCalls()
        try expect(vring.call, of: ask(bench, guest), bench)
        try finish(vring, bench)
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
      try finish(ask(bench, guest), bench)
      EventFD.drain(call)
      try expect(call, of: ask(bench, guest), bench)
    },
  ]

  /// Asks the device for something, and for a call when it is done.
  ///
  /// - Returns: The ring in which it was asked for.
  private static func ask(_ bench: ConformanceBench, _ guest: DriverGuest) throws -> DriverVring {
    if bench.suite.type == .net {
      _ = guest.vrings[0].add(writable: [(try guest.memory.allocate(2048), 2048)])
      guest.vrings[0].publish()
    }
    let vring = guest.vrings[bench.requestRing(ofQueue: 0)]
    vring.setWantsCalls(true)
    try bench.offerRequest(guest)
    return vring
  }

  /// Waits for a call.
  private static func expect(_ call: OwnedFD, of vring: DriverVring, _ bench: ConformanceBench) throws {
    var entry = pollfd(fd: call.rawValue, events: Int16(POLLIN), revents: 0)
    _ = unsafe poll(&entry, 1, Deadline(after: bench.suite.patience).milliseconds)
    let isCalled = entry.revents & Int16(POLLIN) != 0
    try require(isCalled, "vring \(vring.index) was not called within \(bench.suite.patience)")
  }

  /// Waits until the device is done with what it was asked for, called or not.
  private static func finish(_ vring: DriverVring, _ bench: ConformanceBench) throws {
    let deadline = Deadline(after: bench.suite.patience)
    while try vring.collect() == nil {
      try require(!deadline.hasPassed, "vring \(vring.index) has returned nothing within \(bench.suite.patience)")
      usleep(100)
    }
  }
}
