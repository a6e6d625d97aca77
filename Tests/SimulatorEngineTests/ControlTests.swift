import Foundation
import SimulatorEngine
import Testing
import VDPA
import Virtio

struct ControlTests {
  static let formats: [Features] = [[], .packedRing]

  @Test(arguments: formats) func aSingleVringStopsAndGoesOn(format: Features) throws {
    let simulation = try Simulation("queues=2,latency=100000")
    let guest = try TestGuest(regions: [1 << 20, 1 << 20])
    let ports = try (0..<2).map { try TestPort(guest, pair: $0, region: $0, features: format) }
    #expect(simulation.context.canStopVrings)
    try simulation.configure(
      guest.memory(), ports.flatMap(\.vrings), features: Simulation.features.union(format))
    let first = (0..<20).map { packet($0, length: 64) }
    ports[0].refill()
    ports[0].send(first)
    #expect(eventually { simulation.device.statistics[1].packets == 20 })
    // What is in flight is finished.
    let state = try wait { simulation.context.stopVring(0, completion: $0) }
    #expect(state.index == 0)
    #expect(state.nextAvail == state.nextUsed)
    #expect(try ports[0].takeAll() == first)
    simulation.device.latency = 0
    let before = guest.contents(ofRegion: 0)
    ports[0].start(at: [state])
    usleep(20_000)
    #expect(guest.contents(ofRegion: 0) == before)
    // The other pair goes on, and this one waits.
    let packets = (0..<100).map { packet($0, length: 64, seed: 1) }
    #expect(try ports[1].roundTrip(packets) == packets)
    ports[0].send([packets[0]])
    usleep(20_000)
    #expect(try ports[0].take() == nil)
    #expect(throws: VDPAError.self) { try wait { simulation.context.stopVring(0, completion: $0) } }
    try simulation.setVring(ports[0].receive.vring())
    #expect(try ports[0].take(1) == [packets[0]])
    #expect(try ports[0].roundTrip(packets) == packets)
    #expect(try simulation.close().count == 4)
    try simulation.end()
  }

  @Test(arguments: formats) func aSuspendedDeviceStandsStillAndGoesOn(format: Features) throws {
    let simulation = try Simulation("queues=1,latency=100000,order=out")
    let guest = try TestGuest()
    let port = try TestPort(guest, features: format)
    try simulation.configure(guest.memory(), port.vrings, features: Simulation.features.union(format))
    let first = (0..<20).map { packet($0, length: 64) }
    port.refill()
    port.send(first)
    #expect(eventually { simulation.device.statistics[1].packets == 20 })
    let states = try wait { simulation.context.suspend(completion: $0) }
    #expect(states.count == 2)
    #expect(states.allSatisfy { $0.nextAvail == $0.nextUsed })
    #expect(try port.takeAll() == first)
    #expect(try port.reap() == 20)
    simulation.device.latency = 0
    let second = (0..<30).map { packet($0, length: 64, seed: 1) }
    port.send(second)
    let before = guest.contents(ofRegion: 0)
    for vring in [port.receive, port.transmit] { if let kick = vring.kick { EventFD.signal(kick) } }
    usleep(50_000)
    #expect(guest.contents(ofRegion: 0) == before)
    try wait { simulation.context.resume(completion: $0) }
    #expect(try port.take(30) == second)
    #expect(throws: VDPAError.self) { try wait { simulation.context.resume(completion: $0) } }
    try simulation.end()
  }

  @Test func aSuspendedDeviceCanBeClosed() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    #expect(throws: VDPAError.self) { try wait { simulation.context.suspend(completion: $0) } }
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<20).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    let states = try wait { simulation.context.suspend(completion: $0) }.sorted { $0.index < $1.index }
    #expect(states == (try simulation.close()))
    port.start(at: states)
    try simulation.configure(guest.memory(), port.vrings)
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test func whatANetDeviceIsAskedForIsRemembered() throws {
    let simulation = try Simulation("queues=1")
    let address = try #require(MACAddress("02:00:00:00:00:07"))
    try wait { simulation.context.announce(address, completion: $0) }
    #expect(simulation.device.announcements == [address])
    try wait { simulation.context.setMTU(9000, completion: $0) }
    let bytes = try wait { simulation.context.readConfiguration(completion: $0) }
    #expect(NetConfiguration(decoding: bytes)?.mtu == 9000)
    #expect(throws: VDPAError.self) { try wait { simulation.context.setMTU(67, completion: $0) } }
    try simulation.end()
  }

  @Test func aDeviceCanDoWithoutItsCapabilities() throws {
    let names = "vring-control+suspension+statistics+announcement+mtu-control+any-start"
    let simulation = try Simulation("queues=1,without=\(names)")
    let context = simulation.context
    #expect(!context.canStopVrings && !context.canAnnounce && context.statistics == nil)
    #expect(context.attributes.protocolFeatures.isDisjoint(with: [.rarp, .mtu]))
    let guest = try TestGuest()
    let port = try TestPort(guest)
    var vrings = port.vrings
    vrings[1].description.state.nextAvail = 1
    #expect(throws: VDPAError.self) { try simulation.configure(guest.memory(), vrings) }
    try simulation.configure(guest.memory(), port.vrings)
    #expect(throws: VDPAError.self) { try wait { context.suspend(completion: $0) } }
    #expect(throws: VDPAError.self) { try wait { context.setMTU(1400, completion: $0) } }
    let packets = (0..<10).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test func featuresCanBeLeftOut() throws {
    let simulation = try Simulation("queues=1,without=VIRTIO_F_RING_PACKED+VIRTIO_NET_F_MAC,dirty-tracking=off")
    let attributes = simulation.context.attributes
    #expect(attributes.features.isDisjoint(with: [.packedRing, .netMAC]))
    #expect(attributes.features.isSuperset(of: [.eventIndex, .netMTU, .inOrder]))
    #expect(!attributes.protocolFeatures.contains(.logSharedMemory))
    #expect(!simulation.context.canLog)
    try simulation.end()
  }
}
