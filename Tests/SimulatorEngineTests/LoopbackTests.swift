import SimulatorEngine
import Testing
import VDPA
import Virtio

struct LoopbackTests {
  /// Bursts that go straight from ring to ring, and packets that are in flight in between.
  static let orders = ["in", "out"]
  /// Each class of translation in each order, with one and two queue pairs.
  static let setups = ["on-chip", "platform"].flatMap { translation in
    orders.flatMap { order in [1, 2].map { ("\(translation),order=\(order)", $0) } }
  }

  @Test(arguments: setups) func contentAndOrderComeBackOnTheSamePair(translation: String, pairs: Int) throws {
    let simulation = try Simulation("translation=\(translation),queues=\(pairs)")
    let guest = try TestGuest()
    let ports = try (0..<pairs).map { try TestPort(guest, pair: $0) }
    try simulation.configure(guest.memory(), ports.flatMap(\.vrings))
    for (i, port) in ports.enumerated() {
      let packets = (0..<500).map { packet($0, length: 14 + $0 * 3, seed: i) }
      #expect(try port.roundTrip(packets) == packets)
      let bytes = UInt64(packets.reduce(0) { $0 + $1.count })
      for index in [2 * i, 2 * i + 1] {
        #expect(eventually { simulation.device.statistics[index].packets == 500 })
        #expect(simulation.device.statistics[index].bytes == bytes)
        #expect(simulation.device.statistics[index].dropped == 0)
      }
    }
    #expect(simulation.observer.reports.isEmpty)
    #expect(simulation.device.dmaMap.refusedAccesses == 0)
    #expect(try simulation.close().map(\.index) == Array(0..<2 * pairs))
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    try simulation.end()
  }

  @Test func pairsAreServedSideBySide() throws {
    let simulation = try Simulation("queues=2")
    let guest = try TestGuest()
    let ports = try (0..<2).map { try TestPort(guest, pair: $0) }
    try simulation.configure(guest.memory(), ports.flatMap(\.vrings))
    // The first pair has packets and no buffers for them; the second goes on.
    ports[0].send((0..<10).map { packet($0, length: 64) })
    let packets = (0..<200).map { packet($0, length: 100, seed: 1) }
    #expect(try ports[1].roundTrip(packets) == packets)
    #expect(try ports[0].reap() == 0)
    #expect(simulation.device.statistics[1].packets == 0)
    // Nothing was dropped meanwhile.
    ports[0].refill()
    var came: [[UInt8]] = []
    #expect(
      try eventually {
        while let packet = try ports[0].take() { came.append(packet) }
        return came.count == 10
      })
    #expect(came == (0..<10).map { packet($0, length: 64) })
    try simulation.end()
  }

  @Test(arguments: orders) func aPacketFillsSeveralBuffersIfTheGuestKnowsHow(order: String) throws {
    let simulation = try Simulation("queues=1,order=\(order)")
    let guest = try TestGuest()
    let port = try TestPort(guest, receiveBuffer: 256)
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<300).map { packet($0, length: 60 + ($0 * 37) % 1900) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test(arguments: orders) func withoutMergeableBuffersWhatDoesNotFitIsDropped(order: String) throws {
    let simulation = try Simulation("queues=1,order=\(order)")
    let guest = try TestGuest()
    let port = try TestPort(guest, receiveBuffer: 256)
    try simulation.configure(guest.memory(), port.vrings, features: [.version1])
    port.refill()
    let (small, large) = (packet(1, length: 244), packet(2, length: 245))
    port.send([small, large, small])
    var came: [[UInt8]] = []
    #expect(
      try eventually {
        while let packet = try port.take() { came.append(packet) }
        return came.count == 2
      })
    #expect(came == [small, small])
    var reaped = 0
    #expect(
      try eventually {
        reaped += try port.reap()
        return reaped == 3
      })
    #expect(eventually { simulation.device.statistics[0].oversized == 1 })
    #expect(simulation.device.statistics[0].dropped == 1)
    #expect(simulation.device.statistics[0].packets == 2)
    #expect(simulation.device.statistics[1].packets == 3)
    try simulation.end()
  }

  @Test(arguments: orders) func aGuestOfTheOldHeaderIsServed(order: String) throws {
    let simulation = try Simulation("queues=1,order=\(order)")
    let guest = try TestGuest()
    let port = try TestPort(guest, headerLength: NetHeader.legacyLength)
    try simulation.configure(guest.memory(), port.vrings, features: [.netMAC])
    let packets = (0..<100).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test func aGuestThatNeitherKicksNorIsCalledIsPolled() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    for vring in [port.receive, port.transmit] { (vring.kick, vring.call) = (nil, nil) }
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<300).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    #expect(simulation.device.statistics[1].kicks == 0)
    #expect(simulation.device.statistics[1].calls == 0)
    try simulation.end()
  }

  @Test(arguments: orders) func ringsGoOnWhereTheyStoodAlsoPastTheWrap(order: String) throws {
    let simulation = try Simulation("queues=1,translation=platform,order=\(order)")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    // 16-bit positions wrap at 65536; the device is stopped right before, and once more in the middle.
    var sent = 0
    for count in [1000, 64530, 3, 3, 500] {
      try simulation.configure(guest.memory(), port.vrings)
      let packets = (sent..<sent + count).map { packet($0, length: 24) }
      #expect(try port.roundTrip(packets) == packets)
      sent += count
      let states = try simulation.close()
      for state in states { #expect(state.nextUsed == UInt16(truncatingIfNeeded: sent)) }
      #expect(states[1].nextAvail == UInt16(truncatingIfNeeded: sent))
      (port.receive.state, port.transmit.state) = (states[0], states[1])
    }
    #expect(sent > 65536)
    try simulation.end()
  }
}
