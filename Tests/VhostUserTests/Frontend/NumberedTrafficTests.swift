import Testing
import VDPA
import VhostUser
import Virtio

/// Numbered packets over real sockets of both engines, and over a device that does one thing wrong.
@Suite(.serialized)
struct NumberedTrafficTests {
  private static let ringFeatures: [Features] = [
    [], [.eventIndex], [.indirectDescriptors], [.eventIndex, .indirectDescriptors, .inOrder],
  ]

  private static func features(_ format: RingLayout.Format, _ more: Features) -> Features {
    more.union(format == .packed ? [.version1, .netMergeableBuffers, .packedRing] : [.version1, .netMergeableBuffers])
  }

  private static func guest(
    _ features: Features, pairs: Int = 1, ringSize: Int = 512, regions: Int = 1, startingAt start: UInt16? = nil
  ) throws -> FrontendGuest {
    try FrontendGuest(
      features: features, vringCount: 2 * pairs, ringSize: ringSize,
      bufferBytes: NumberedTraffic.bufferBytes(ringSize: ringSize, pairs: pairs), regionCount: regions,
      startingAt: start)
  }

  private static func connect(_ socket: LoopbackSocket, _ guest: FrontendGuest) throws -> Frontend {
    let frontend = Frontend(try FrontendConnection(path: socket.path, waitsForListener: true))
    try frontend.negotiate(guest.features)
    return frontend
  }

  // MARK: What is right

  @Test(
    "Every packet comes back once, in order and as it was, with 256 of each pair in flight",
    arguments: LoopbackSocket.Server.allCases, RingLayout.Format.allCases)
  func clean(server: LoopbackSocket.Server, format: RingLayout.Format) throws {
    let socket = try LoopbackSocket(server, queues: 2)
    for more in Self.ringFeatures {
      let guest = try Self.guest(Self.features(format, more), pairs: 2, regions: 3)
      let traffic = try NumberedTraffic(guest)
      let before = socket.socket.statistics.map(\.packets)
      let frontend = try Self.connect(socket, guest)
      #expect(guest.features.isSuperset(of: more))
      try guest.start(over: frontend)
      #expect(try traffic.run(2000))
      for report in traffic.reports {
        #expect(report.isClean && report.sent == 2000 && report.received == 2000, "\(report.counters)")
        #expect(report.peakInFlight == 256 && report.latency.count == 2000 && report.latency.percentile(0.5) > 0)
      }
      // They went through the socket's device.
      let states = try guest.stop()
      #expect(states.count == 4)
      #expect(socket.socket.statistics.enumerated().allSatisfy { $1.packets == before[$0] + 2000 })
      frontend.connection.close()
    }
  }

  @Test("Rings of every size, also smaller than the window", arguments: RingLayout.Format.allCases)
  func sizes(format: RingLayout.Format) throws {
    let socket = try LoopbackSocket()
    for size in [2, 4, 256] + (format == .packed ? [3, 100] : []) {
      // Shortly before positions begin anew.
      let start = format == .split ? UInt16.max - 300 : UInt16(size - 1)
      let guest = try Self.guest(Self.features(format, []), ringSize: size, startingAt: start)
      let traffic = try NumberedTraffic(guest)
      let frontend = try Self.connect(socket, guest)
      try guest.start(over: frontend)
      #expect(try traffic.run(700))
      #expect(traffic.reports[0].isClean && traffic.reports[0].peakInFlight <= size)
      frontend.connection.close()
    }
  }

  // MARK: What is wrong

  @Test("Each thing that a device does wrong is found, and named", arguments: TamperingDevice.Tampering.allCases)
  func tampering(tampering: TamperingDevice.Tampering) throws {
    for format in RingLayout.Format.allCases {
      let guest = try Self.guest(Self.features(format, [.indirectDescriptors]), pairs: 2)
      let traffic = try NumberedTraffic(guest)
      let device = try TamperingDevice(guest, tampering)
      traffic.want(1000)
      while try traffic.step() { device.serve() }
      let reports = traffic.reports
      let found = reports[0].counters.dropFirst(2).filter { $0.value > 0 }.map { "\($0.name) \($0.value)" }
      let expected: [String] =
        switch tampering {
        case .nothing: []
        case .bit, .short: ["corrupted 1"]
        case .number: ["lost 1", "corrupted 1"]
        case .loss: ["lost 1"]
        case .repetition: ["duplicated 1"]
        case .swap: ["reordered 1"]
        case .otherPair: ["lost 1"]
        }
      #expect(found == expected)
      #expect(reports[1].misdirected == (tampering == .otherPair ? 1 : 0))
      #expect(reports.allSatisfy(\.isClean) == (tampering == .nothing))
      #expect(reports.allSatisfy { $0.sent == 1000 })
    }
  }

  @Test("A packet that does not come is given up, and counted as lost")
  func patience() throws {
    let guest = try Self.guest(Self.features(.split, []))
    let traffic = try NumberedTraffic(guest)
    #expect(try !traffic.run(10, patience: .milliseconds(20)))
    #expect(traffic.reports[0].lost == 10 && !traffic.reports[0].isClean)
  }

  @Test("A ring that the back-end finds broken ends the run with its number")
  func broken() throws {
    let socket = try LoopbackSocket()
    let guest = try Self.guest(Self.features(.split, []))
    let traffic = try NumberedTraffic(guest)
    let frontend = try Self.connect(socket, guest)
    try guest.start(over: frontend)
    #expect(try traffic.run(10))
    // What is not in memory.
    _ = guest.vrings[1].add(readable: [(0, 64)])
    let error = try #require(throws: VhostUserError.self) { try traffic.run(1) }
    #expect(error.code == .backendFault && error.ring == 1 && error.description.contains("broken"), "\(error)")
  }

  @Test(
    "What no device may write into a ring ends the run, and is never followed", arguments: RingLayout.Format.allCases)
  func deviceFault(format: RingLayout.Format) throws {
    let guest = try Self.guest(Self.features(format, []), ringSize: 64)
    let traffic = try NumberedTraffic(guest)
    traffic.want(10)
    try traffic.step()
    let vring = guest.vrings[0]
    switch format {
    case .split: guest.memory.write([0, 0, 65, 0], at: vring.used)
    case .packed: guest.memory.write([0, 0, 0, 0, 0xff, 0xff, 0x80, 0x80], at: vring.descriptor + 8)
    }
    let error = try #require(throws: VhostUserError.self) { try traffic.step() }
    #expect(error.code == .backendFault && error.ring == 0, "\(error)")
  }

  // MARK: Stops and restarts

  @Test(
    "Rings that are stopped in the middle of traffic go on at the next back-end: nothing lost, nothing repeated",
    arguments: RingLayout.Format.allCases, [[], [.eventIndex, .indirectDescriptors]] as [Features])
  func stopAndGo(format: RingLayout.Format, more: Features) throws {
    let sockets = try LoopbackSocket.Server.allCases.map { try LoopbackSocket($0) }
    let guest = try Self.guest(Self.features(format, more))
    let traffic = try NumberedTraffic(guest)
    for round in 0..<10 {
      let frontend = try Self.connect(sockets[round % 2], guest)
      try guest.start(over: frontend)
      traffic.want(1000)
      for _ in 0..<(round * 3) { try traffic.step() }
      let states = try guest.stop()
      // Twice on one connection.
      try guest.start(over: frontend)
      #expect(states.count == 2)
      for _ in 0..<(round * 2) { try traffic.step() }
      try guest.stop()
      frontend.connection.close()
    }
    let frontend = try Self.connect(sockets[0], guest)
    try guest.start(over: frontend)
    #expect(try traffic.run())
    let report = traffic.reports[0]
    #expect(report.isClean && report.received == 10_000, "\(report.counters)")
    #expect(report.reconnects == 0 && report.inFlightAtReconnect == 0)
  }

  @Test("A device that was reset goes on with rings that are set up anew", arguments: RingLayout.Format.allCases)
  func reset(format: RingLayout.Format) throws {
    let socket = try LoopbackSocket()
    let guest = try Self.guest(Self.features(format, []))
    let traffic = try NumberedTraffic(guest)
    let frontend = try Self.connect(socket, guest)
    #expect(frontend.protocolFeatures.contains(.resetDevice))
    for round in 0..<5 {
      try guest.start(over: frontend)
      traffic.want(1000)
      for _ in 0..<round { try traffic.step() }
      try frontend.reset()
    }
    try guest.start(over: frontend)
    #expect(try traffic.run())
    #expect(traffic.reports[0].isClean && traffic.reports[0].received == 5000, "\(traffic.reports[0].counters)")
  }

  @Test(
    "A back-end that is gone is followed by the next: in order, what was in flight counted by itself",
    arguments: RingLayout.Format.allCases, [[], [.eventIndex, .indirectDescriptors, .inOrder]] as [Features])
  func restart(format: RingLayout.Format, more: Features) throws {
    let folder = TemporaryFolder()
    var socket: LoopbackSocket? = try LoopbackSocket(in: folder)
    let guest = try Self.guest(Self.features(format, more))
    let traffic = try NumberedTraffic(guest)
    var frontend = Frontend(try FrontendConnection(path: folder.path("s")))
    try frontend.negotiate(guest.features)
    try guest.start(over: frontend)
    for round in 0..<6 {
      traffic.want(1000)
      for _ in 0..<round { try traffic.step() }
      // Its device stops, but nobody has asked where.
      socket = nil
      let error = try #require(throws: VhostUserError.self) { try traffic.run(patience: .seconds(10)) }
      #expect(error.code == .disconnected, "\(error)")
      socket = try LoopbackSocket(round % 2 == 0 ? .simulator : .software, in: folder)
      frontend = Frontend(try FrontendConnection(path: folder.path("s"), waitsForListener: true))
      try frontend.negotiate(guest.features)
      try traffic.reconnect(over: frontend)
    }
    #expect(try traffic.run(1000))
    let report = traffic.reports[0]
    #expect(report.isClean && report.reconnects == 6 && report.sent == 7000, "\(report.counters)")
    #expect(report.inFlightAtReconnect > 0 && report.received + report.lostAtReconnect == 7000)
    withExtendedLifetime(socket) {}
  }

  @Test("A back-end that comes back without a feature is refused by its number")
  func otherFeatures() throws {
    let guest = try Self.guest(Self.features(.packed, []))
    let socket = try LoopbackSocket(without: .packedRing)
    let error = try #require(throws: VhostUserError.self) { try guest.start(over: try Self.connect(socket, guest)) }
    #expect(error.code == .notNegotiated && error.description.contains("[34]"), "\(error)")
  }
}
