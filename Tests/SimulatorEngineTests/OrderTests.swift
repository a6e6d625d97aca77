import SimulatorEngine
import Testing
import VDPA
import Virtio

struct OrderTests {
  static let formats: [Features] = [[], .packedRing]

  /// Everything is there before the device looks for the first time, so that it fetches the same each time.
  ///
  /// - Returns: The packets that came, and the heads in the order in which they came back.
  private func run(
    _ parameters: String, format: Features, receiveBuffer: Int = 2048, length: Int = 64
  ) throws -> (packets: [[UInt8]], receive: [UInt16], transmit: [UInt16]) {
    let simulation = try Simulation("queues=1," + parameters)
    let guest = try TestGuest()
    let port = try TestPort(guest, receiveBuffer: receiveBuffer, features: format)
    let packets = (0..<30).map { packet($0, length: length) }
    port.refill()
    port.send(packets)
    try simulation.configure(guest.memory(), port.vrings, features: Simulation.features.union(format))
    let came = try port.take(30)
    var reaped = 0
    #expect(
      try eventually {
        reaped += try port.reap()
        return reaped == 30
      })
    let states = try simulation.close()
    #expect(states.allSatisfy { $0.nextAvail == $0.nextUsed })
    #expect(simulation.observer.reports.isEmpty)
    try simulation.end()
    return (came, port.receive.returned, port.transmit.returned)
  }

  @Test(arguments: formats) func buffersComeBackInAnyOrderAndPacketsInTheirs(format: Features) throws {
    let packets = (0..<30).map { packet($0, length: 64) }
    let inOrder = try run("order=in", format: format)
    #expect(inOrder.packets == packets)
    let shuffled = try run("order=out", format: format)
    #expect(shuffled.packets == packets)
    // The same buffers, each once, in another order.
    #expect(shuffled.receive.sorted() == inOrder.receive.sorted())
    #expect(shuffled.transmit.sorted() == inOrder.transmit.sorted())
    #expect(shuffled.receive != inOrder.receive)
    #expect(shuffled.transmit != inOrder.transmit)
    // The same again with the same seed, and not with another one.
    let again = try run("order=out", format: format)
    #expect(again.receive == shuffled.receive && again.transmit == shuffled.transmit)
    let other = try run("order=out,seed=2", format: format)
    #expect(other.packets == packets)
    #expect(other.receive != shuffled.receive && other.transmit != shuffled.transmit)
  }

  @Test(arguments: formats) func aPacketOfSeveralBuffersStaysTogether(format: Features) throws {
    let packets = (0..<30).map { packet($0, length: 400) }
    #expect(try run("order=out", format: format, receiveBuffer: 256, length: 400).packets == packets)
  }

  @Test(arguments: formats) func theOrderHoldsUnderLoad(format: Features) throws {
    let simulation = try Simulation("queues=2,order=out,latency=200")
    let guest = try TestGuest()
    let ports = try (0..<2).map { try TestPort(guest, pair: $0, features: format) }
    try simulation.configure(
      guest.memory(), ports.flatMap(\.vrings), features: Simulation.features.union(format))
    for (seed, port) in ports.enumerated() {
      let packets = (0..<2000).map { packet($0, length: 14 + $0 % 3000, seed: seed) }
      #expect(try port.roundTrip(packets) == packets)
    }
    #expect(simulation.observer.reports.isEmpty)
    try simulation.end()
  }

  @Test func whoCompletesInAnyOrderDoesNotOfferOtherwise() throws {
    let simulation = try Simulation("queues=1,order=out")
    #expect(!simulation.context.attributes.completesInOrder)
    #expect(!simulation.context.attributes.features.contains(.inOrder))
    let guest = try TestGuest()
    let port = try TestPort(guest)
    #expect(throws: VDPAError.self) {
      try simulation.configure(guest.memory(), port.vrings, features: [.version1, .inOrder])
    }
    try simulation.end()
  }

  @Test(arguments: formats) func aDriverThatKnowsTheOrderIsServed(format: Features) throws {
    let features: Features = format.union([.version1, .inOrder, .netMergeableBuffers])
    let simulation = try Simulation("queues=1,latency=100")
    let guest = try TestGuest()
    let port = try TestPort(guest, features: features)
    try simulation.configure(guest.memory(), port.vrings, features: features)
    let packets = (0..<500).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }
}
