import Testing
import VDPA
import Virtio

struct DrivenDeviceTests {
  static let kinds = Bench.Kind.allCases
  static let formats = RingLayout.Format.allCases

  @Test("Packets go through any device and come back as they were", arguments: kinds, formats)
  func loopback(kind: Bench.Kind, format: RingLayout.Format) throws {
    let bench = try Bench()
    let device = try bench.claim(kind)
    try device.negotiate(Bench.features(format))
    let traffic = try Bench.traffic(device)
    try device.start(traffic.guest)
    #expect(try traffic.run(2000))
    #expect(traffic.reports.allSatisfy { $0.isClean && $0.received == 2000 }, "\(traffic.reports)")
    let states = try device.stop()
    #expect(states.sorted { $0.index < $1.index } == traffic.guest.vrings.map(\.description.state))
    #expect(try #require(device.statistics).allSatisfy { $0.packets == 2000 })
    #expect(device.reports.isEmpty)
    device.release()
    try bench.end()
  }

  @Test("Where one device has stopped, another goes on", arguments: formats)
  func elsewhere(format: RingLayout.Format) throws {
    let bench = try Bench()
    let devices = try kinds.map { try bench.claim($0) }
    for device in devices { try device.negotiate(Bench.features(format)) }
    // Positions wrap around on the way: those of a split ring after 65,535, those of a packed one in each lap.
    let traffic = try Bench.traffic(devices[0], startingAt: format == .split ? 0xfe00 : nil)
    for turn in 0..<6 {
      let device = devices[turn % 2]
      traffic.want(500)
      try device.start(traffic.guest)
      // It is stopped with packets under way.
      while try traffic.step(), traffic.reports[0].received < UInt64(turn) * 500 + 100 {}
      try device.stop()
    }
    try devices[0].start(traffic.guest)
    #expect(try traffic.run())
    #expect(traffic.reports.allSatisfy { $0.isClean && $0.received == 3000 }, "\(traffic.reports)")
    for device in devices { device.release() }
    try bench.end()
  }

  @Test("Rings are handed over as they stand, there and back", arguments: formats)
  func handOver(format: RingLayout.Format) throws {
    let bench = try Bench()
    var (one, other) = (try bench.claim(.software), try bench.claim(.simulator))
    try one.negotiate(Bench.features(format))
    let traffic = try Bench.traffic(one)
    try one.start(traffic.guest)
    for _ in 0..<6 {
      traffic.want(300)
      for _ in 0..<20 { try traffic.step() }
      let states = try one.handOver(to: other)
      // Where its rings began stays what it is while they move on.
      while try traffic.step() {}
      #expect(other.setup?.vrings.map(\.description.state) == states.sorted { $0.index < $1.index })
      #expect(!one.isRunning && other.isRunning && other.features == Bench.features(format))
      (one, other) = (other, one)
    }
    #expect(try traffic.run())
    #expect(traffic.reports.allSatisfy { $0.isClean && $0.received == 1800 }, "\(traffic.reports)")
    try one.stop()
    for device in [one, other] { device.release() }
    try bench.end()
  }

  @Test("A device that cannot take over is refused, and the one before goes on")
  func refusedHandOver() throws {
    let bench = try Bench()
    let (one, other) = (try bench.claim(.software), try bench.claim(.simulator, pairs: 1))
    try one.negotiate(Bench.features(.split))
    let traffic = try Bench.traffic(one)
    try one.start(traffic.guest)
    let error = try #require(throws: VDPAError.self) { try one.handOver(to: other) }
    #expect(error.message.contains("2 vrings"), "\(error)")
    #expect(one.isRunning && !other.isRunning)
    #expect(try traffic.run(100))
    for device in [one, other] { device.release() }
    try bench.end()
  }

  @Test("Rings start where they are said to stand", arguments: kinds)
  func positions(kind: Bench.Kind) throws {
    let bench = try Bench()
    let device = try bench.claim(kind, pairs: 1)
    try device.negotiate(Bench.features(.split))
    let guest = try device.makeGuest(bufferBytes: 0, startingAt: 7)
    let other = VringState(index: 1, nextAvail: 9, nextUsed: 9)
    try device.start(guest, at: [other])
    #expect(try device.stop().sorted { $0.index < $1.index } == [guest.vrings[0].description.state, other])
    device.release()
    try bench.end()
  }

  @Test("What a device does not offer is refused by name", arguments: kinds)
  func refusals(kind: Bench.Kind) throws {
    let bench = try Bench()
    let device = try bench.claim(kind)
    let error = try #require(throws: VDPAError.self) { try device.negotiate([.version1, .netGuestUFO]) }
    #expect(error.code == .notOffered && error.message.contains("GUEST_UFO"), "\(error)")
    #expect(throws: VDPAError.self) { try device.makeGuest(vringCount: 5, bufferBytes: 0) }
    #expect(throws: VDPAError.self) { try device.makeGuest(ringSize: 65536, bufferBytes: 0) }
    try device.negotiate([.version1])
    let guest = try device.makeGuest(bufferBytes: 0)
    try device.negotiate([.version1, .packedRing])
    #expect(throws: VDPAError.self) { try device.start(guest) }
    try device.negotiate([.version1])
    try device.start(guest)
    #expect(throws: VDPAError.self) { try device.start(guest) }
    #expect(throws: VDPAError.self) { try device.negotiate([]) }
    #expect(throws: VDPAError.self) { try device.setEnabled(true, vring: 7) }
    try device.reset()
    #expect(!device.isRunning && device.features == [])
    device.release()
    try bench.end()
  }

  @Test("Single rings start late and, where the device can, stop alone", arguments: kinds)
  func singleRings(kind: Bench.Kind) throws {
    let bench = try Bench()
    let device = try bench.claim(kind)
    try device.negotiate(Bench.features(.split))
    let traffic = try Bench.traffic(device)
    try device.start(traffic.guest, vrings: [0, 1])
    traffic.want(100)
    _ = try traffic.run(patience: .milliseconds(200))
    #expect(traffic.reports.map(\.received) == [100, 0])
    for index in [2, 3] { try device.start(vring: index) }
    #expect(try traffic.run())
    #expect(traffic.reports.map(\.received) == [100, 100])
    if device.context.canStopVrings {
      #expect(try device.stop(vring: 3) == traffic.guest.vrings[3].description.state)
      _ = try traffic.run(10, patience: .milliseconds(200))
      #expect(traffic.reports.map(\.received) == [110, 100])
      try device.start(vring: 3)
      #expect(try traffic.run())
      #expect(try device.stop().map(\.index).sorted() == [0, 1, 2, 3])
    } else {
      #expect(throws: VDPAError.self) { try device.stop(vring: 3) }
    }
    device.release()
    try bench.end()
  }

  @Test("Single packets are sent and received", arguments: kinds, formats)
  func singlePackets(kind: Bench.Kind, format: RingLayout.Format) throws {
    let bench = try Bench()
    let device = try bench.claim(kind, pairs: 1)
    try device.negotiate(Bench.features(format))
    let guest = try device.makeGuest(ringSize: 16, bufferBytes: NetPairDriver.bufferBytes(count: 8))
    let pair = try NetPairDriver(guest, buffers: 8)
    try device.start(guest)
    for number in 0..<100 as Range<UInt8> {
      let packet = [UInt8](repeating: number, count: 60 + Int(number))
      let isSent = try pair.send(packet)
      #expect(isSent)
      #expect(try pair.receive(within: .seconds(10)) == packet)
    }
    #expect(try pair.receive() == nil)
    device.release()
    try bench.end()
  }

  @Test("The configuration space is read and written", arguments: kinds)
  func configuration(kind: Bench.Kind) throws {
    let bench = try Bench()
    let device = try bench.claim(kind)
    let space = try #require(NetConfiguration(decoding: device.readConfiguration()))
    #expect(space.maxQueuePairs == 2)
    #expect(throws: VDPAError.self) { try device.writeConfiguration([1], at: 0) }
    device.release()
    try bench.end()
  }

  @Test("Memory may change while the device runs", arguments: kinds)
  func memory(kind: Bench.Kind) throws {
    let bench = try Bench()
    let device = try bench.claim(kind)
    try device.negotiate(Bench.features(.split))
    let traffic = try Bench.traffic(device)
    try device.start(traffic.guest)
    #expect(try traffic.run(200))
    let memory = traffic.guest.memory
    try device.changeMemory(to: memory.snapshot(of: Array(memory.regions.indices)))
    #expect(try traffic.run(200))
    #expect(traffic.reports.allSatisfy { $0.isClean && $0.received == 400 })
    device.release()
    try bench.end()
  }

  private var kinds: [Bench.Kind] { Self.kinds }
}
