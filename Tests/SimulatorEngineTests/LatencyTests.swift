import Foundation
import SimulatorEngine
import Testing
import VDPA
import Virtio

struct LatencyTests {
  static let formats: [Features] = [[], .packedRing]
  static let orders = ["in", "out"]
  static let setups = formats.flatMap { format in orders.map { (format, $0) } }

  @Test func aPacketTakesItsTime() throws {
    let simulation = try Simulation("queues=1,latency=50000")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    port.refill()
    let before = Date()
    port.send([packet(0, length: 64)])
    #expect(try port.take(1) == [packet(0, length: 64)])
    #expect(Date().timeIntervalSince(before) >= 0.05)
    // Less from now on; what is beyond the end is taken for it.
    simulation.device.latency = -1
    #expect(simulation.device.latency == 0)
    simulation.device.latency = 2_000_000
    #expect(simulation.device.latency == 1_000_000)
    try simulation.end()
  }

  /// So long that nothing is done by itself while a test looks.
  @Test(arguments: setups) func whatIsInFlightIsFinishedWhenTheDeviceIsClosed(format: Features, order: String) throws {
    let simulation = try Simulation("queues=1,latency=1000000,order=\(order)")
    let guest = try TestGuest()
    let port = try TestPort(guest, size: 128, features: format)
    let features = Simulation.features.union(format)
    try simulation.configure(guest.memory(), port.vrings, features: features)
    var expected: [[UInt8]] = []
    for round in 0..<3 {
      let packets = (0..<100).map { packet($0, length: 64, seed: round) }
      let before = simulation.device.statistics[1].packets
      port.refill()
      port.send(packets)
      // All of them were fetched, which is more than 64 descriptors a ring, and none has come back.
      #expect(eventually { simulation.device.statistics[1].packets == before + 100 })
      expected += packets
      port.start(at: try simulation.close())
      let came = try port.takeAll()
      #expect(came == packets)
      #expect(try port.reap() == 100)
      for vring in [port.receive, port.transmit] { #expect(vring.state.nextAvail == vring.state.nextUsed) }
      try simulation.configure(guest.memory(), port.vrings, features: features)
    }
    simulation.device.latency = 0
    let packets = (0..<100).map { packet($0, length: 64, seed: 9) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test(arguments: ["on-chip", "platform"]) func whatIsInFlightIsFinishedBeforeMemoryGoes(translation: String) throws {
    let simulation = try Simulation("queues=1,latency=1000000,translation=\(translation)")
    let guest = try TestGuest(regions: [1 << 20, 1 << 20])
    let port = try TestPort(guest, region: 0, bufferRegion: 1)
    let memory = try guest.memory()
    try simulation.configure(memory, port.vrings)
    let packets = (0..<30).map { packet($0, length: 64) }
    port.refill()
    port.send(packets)
    #expect(eventually { simulation.device.statistics[1].packets == 30 })
    #expect(try port.take() == nil)
    try simulation.changeMemory(to: try memory.removing(guest.regions[1]))
    let after = guest.contents(ofRegion: 1)
    #expect(try port.takeAll() == packets)
    #expect(try port.reap() == 30)
    _ = try simulation.close()
    #expect(guest.contents(ofRegion: 1) == after)
    #expect(simulation.device.dmaMap.refusedAccesses == 0)
    try simulation.end()
  }

  @Test func whatIsInFlightIsLostWithTheDevice() throws {
    let simulation = try Simulation("queues=1,latency=1000000")
    let guest = try TestGuest(regions: [1 << 20, 1 << 20])
    let port = try TestPort(guest, region: 0, bufferRegion: 1)
    try simulation.configure(guest.memory(), port.vrings)
    port.refill()
    port.send((0..<30).map { packet($0, length: 64) })
    let before = guest.contents(ofRegion: 1)
    #expect(eventually { simulation.device.statistics[1].packets == 30 })
    try simulation.device.inject(.vanishing)
    #expect(try simulation.close().isEmpty)
    #expect(guest.contents(ofRegion: 1) == before)
    #expect(try port.take() == nil)
    #expect(try port.reap() == 0)
    try simulation.end()
  }

  @Test func aDeviceThatWaitsUsesNoCPU() throws {
    let simulation = try Simulation("queues=1,latency=1000000")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    port.refill()
    port.send((0..<30).map { packet($0, length: 64) })
    #expect(eventually { simulation.device.statistics[1].packets == 30 })
    let thread = try #require(threads(named: simulation.device.threadName).first)
    usleep(20_000)
    let before = try #require(runTime(ofThread: thread))
    usleep(500_000)
    #expect(try #require(runTime(ofThread: thread)) - before < 25_000_000)
    #expect(try port.take(30).count == 30)
    try simulation.end()
  }
}
