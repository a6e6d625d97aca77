import Testing

@testable import first_light

/// The demo must not be content with less than it has to show.
struct ObservationTests {
  private static let traffic = PacketCount(packetsIn: 1000, packetsOut: 1000)

  private func observation(
    of socket: DemoSocket = .bound, servedBy other: DemoSocket? = nil, isReady: Bool = true,
    frontEnd: PacketCount = traffic, engines: [Int: PacketCount] = [0: traffic, -1: PacketCount()]
  ) -> Observation {
    let served = other ?? socket
    return Observation(
      expected: socket,
      socket: DaemonStatus.Socket(
        name: socket.name, engine: served.engine, device: served.device, datapath: served.datapath, ready: isReady,
        notReadyReason: isReady ? nil : "no guest memory", vringPackets: []),
      frontEnd: frontEnd, packetsPerSecond: 1, engines: engines)
  }

  @Test("All packets back over the engine that the socket is bound to is what the demo wants")
  func good() {
    #expect(observation().failure == nil)
    #expect(
      observation(of: .unbound, engines: [0: PacketCount(), -1: ObservationTests.traffic]).failure == nil)
  }

  @Test("A socket that is not ready says why")
  func notReady() throws {
    let failure = try #require(observation(isReady: false).failure)
    #expect(failure.description == "bound.sock was not ready: no guest memory")
  }

  @Test("Another binding is a failure, whatever the counters say")
  func binding() throws {
    let failure = try #require(observation(servedBy: .unbound).failure)
    #expect(failure.description == "bound.sock was served by (-1, -1) software instead of (0, 0) simulator")
  }

  @Test("No traffic is a failure")
  func nothing() throws {
    let failure = try #require(observation(frontEnd: PacketCount(), engines: [:]).failure)
    #expect(failure.description == "no packet went through bound.sock")
  }

  @Test("One packet lost, or one too many, is a failure", arguments: [UInt64(999), 1001])
  func lost(returned: UInt64) throws {
    let count = PacketCount(packetsIn: 1000, packetsOut: returned)
    let failure = try #require(observation(frontEnd: count, engines: [0: count]).failure)
    #expect(
      failure.description
        == (returned < 1000
          ? "1 of 1000 packets were lost on bound.sock" : "1 packets more came back on bound.sock than were sent"))
  }

  @Test("Packets that the bound engine did not count went another way")
  func uncounted() throws {
    for engines in [[:], [0: PacketCount(packetsIn: 1000, packetsOut: 999)], [-1: ObservationTests.traffic]] {
      let failure = try #require(observation(engines: engines).failure)
      #expect(failure.description.hasPrefix("engine 0 (simulator), which bound.sock is bound to, counted"))
    }
  }

  @Test("Another engine that moved meanwhile is a failure")
  func other() throws {
    let engines = [0: ObservationTests.traffic, -1: PacketCount(packetsIn: 1)]
    let failure = try #require(observation(engines: engines).failure)
    #expect(failure.description.hasPrefix("engine -1 carried 1 packets in and 0 out while only bound.sock had traffic"))
  }
}
