internal import Glibc
internal import VDPA
internal import Virtio

/// What of guest memory a device touches.
extension Conformance {
  private static let pattern: UInt8 = 0xa5

  static let memory = [
    ConformanceRule("memory.own", "Only rings and writable buffers are written") { bench in
      let device = try bench.claim()
      for format in bench.formats(of: device) {
        let guest = try bench.guest(for: device, format, regionCount: 2)
        let probe = try bench.probe(guest)
        // All that is left of both regions is nobody's.
        var pages: [UInt64] = []
        while let page = try? guest.memory.allocate(4096) { pages.append(page) }
        for page in pages { guest.memory.write([UInt8](repeating: pattern, count: 4096), at: page) }
        try device.start(guest)
        for _ in 0..<50 { try probe.exchange() }
        for page in pages {
          let isSame = guest.memory.read(page, count: 4096).allSatisfy { $0 == pattern }
          try require(isSame, "the page at 0x\(String(page, radix: 16)) is in no ring and no buffer, and was written")
        }
        try device.stop()
      }
    },
    ConformanceRule("memory.unmapped", "An address in no memory breaks its ring, which is told; others go on") {
      bench in
      let device = try bench.claim()
      guard device.attributes.queueCount > 1 else { throw ConformanceEnd.skip(missing: "second queue") }
      let index = bench.requestRing(ofQueue: 1)
      for format in bench.formats(of: device) {
        let guest = try bench.guest(for: device, format)
        let probe = try bench.probe(guest)
        let other = try bench.probe(guest, queue: 1)
        try device.start(guest)
        try probe.exchange()
        try other.exchange()
        let before = device.reports.count
        _ = guest.vrings[index].add(readable: [(DriverMemory.guestBase / 2, 64)])
        guest.vrings[index].publish()
        EventFD.signal(guest.vrings[index].kick)
        let deadline = Deadline(after: bench.suite.patience)
        while !device.reports.dropFirst(before).contains(where: { $0.isBroken(index) }) {
          try require(!deadline.hasPassed, "vring \(index) has a buffer in no memory, and nothing is reported")
          usleep(1000)
        }
        for _ in 0..<20 { try probe.exchange() }
        try device.stop()
      }
    },
    ConformanceRule("memory.moved", "Memory may be mapped anew while the device runs") { bench in
      let device = try bench.claim()
      for format in bench.formats(of: device) {
        let traffic = try bench.traffic(for: device, bench.features(format, of: device))
        try device.start(traffic.guest)
        for _ in 0..<5 {
          try bench.begin(traffic, 50)
          let memory = traffic.guest.memory
          try device.changeMemory(to: memory.snapshot(of: Array(memory.regions.indices)))
        }
        try bench.finish(traffic)
        try device.stop()
      }
    },
    ConformanceRule("memory.removed", "Memory that was taken away is not touched any more") { bench in
      let device = try bench.claim()
      let guest = try bench.guest(for: device, .split, bufferBytes: 8 << 20)
      let probe = try bench.probe(guest)
      // A region of its own, apart from the rings and from what is exchanged.
      let whole = try extended(guest)
      try device.start(guest)
      try device.changeMemory(to: whole.memory)
      try probe.exchange()
      let target = whole.address
      whole.write([UInt8](repeating: pattern, count: 4096))
      do {
        try device.changeMemory(to: guest.memory.memory)
      } catch {
        // A device that cannot do without it is closed, and touches it no more either.
        try device.stop()
      }
      let index = bench.suite.type == .net ? 0 : bench.requestRing(ofQueue: 0)
      let vring = guest.vrings[index]
      if bench.suite.type == .net {
        _ = vring.add(writable: [(target, 2048)])
        vring.publish()
        // The buffers before it are used up first.
        for _ in 0...NetProbe.buffers { try bench.offerRequest(guest) }
      } else {
        let header = try guest.memory.allocate(BlockRequest.headerLength)
        guest.memory.write(BlockRequest(.read).encoded, at: header)
        _ = vring.add(readable: [(header, BlockRequest.headerLength)], writable: [(target, 512), (target + 512, 1)])
        vring.publish()
        EventFD.signal(vring.kick)
      }
      bench.listen()
      try require(whole.bytes.allSatisfy { $0 == pattern }, "a buffer there was written")
    },
  ]

  /// Memory beside that of a guest, which can come and go.
  private struct Beside {
    let memory: GuestMemory
    let address: UInt64
    private let own: DriverMemory

    init(memory: GuestMemory, address: UInt64, own: DriverMemory) {
      self.memory = memory
      self.address = address
      self.own = own
    }

    func write(_ bytes: [UInt8]) { own.write(bytes, at: DriverMemory.guestBase) }
    var bytes: [UInt8] { own.read(DriverMemory.guestBase, count: 4096) }
  }

  private static func extended(_ guest: DriverGuest) throws -> Beside {
    let own = try DriverMemory(regionSizes: [4096])
    let address = guest.memory.regions.map(\.region.guestEnd).max() ?? 0
    let region = try MemoryRegion(
      guestAddress: address + 4096, size: 4096, userAddress: address + 4096 + DriverMemory.userOffset, fileOffset: 0)
    let regions =
      guest.memory.regions.map { ($0.region, $0.file.descriptor) } + [(region, own.regions[0].file.descriptor)]
    return Beside(memory: try GuestMemory.table(regions), address: region.guestAddress, own: own)
  }
}

extension DeviceReport {
  /// Whether it says that this vring is broken.
  fileprivate func isBroken(_ index: Int) -> Bool {
    if case .vringBroken(index, _) = self { true } else { false }
  }
}
