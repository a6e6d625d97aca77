import Foundation
import SimulatorEngine
import Testing
import VDPA
import Virtio

struct TrafficFaultTests {
  static let formats: [Features] = [[], .packedRing]
  static let translations = ["on-chip", "platform"]

  // MARK: Vanishing

  @Test(arguments: translations) func aDeviceVanishesInTheMiddleOfABurst(translation: String) throws {
    let simulation = try Simulation("queues=1,translation=\(translation)")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    let packets = (0..<20).map { packet($0, length: 64) }
    port.refill()
    port.send(packets)
    try simulation.device.inject(.vanishing, afterPackets: 5)
    try simulation.configure(guest.memory(), port.vrings)
    #expect(eventually { simulation.observer.reports.count == 1 })
    guard case .failed(let reason) = try #require(simulation.observer.reports.first) else {
      Issue.record("\(simulation.observer.reports)")
      return
    }
    #expect(reason.contains("vanished"))
    // Fenced before it was reported.
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    // Entries were written, and not announced.
    #expect(port.receive.area.usedIndex == 0)
    #expect(port.receive.area.usedEntry(4).length == UInt32(64 + NetHeader.modernLength))
    #expect(port.receive.area.usedEntry(5).length == 0)
    #expect(port.transmit.area.usedIndex == 0)
    // From here on it writes nothing and calls nobody.
    let before = guest.contents(ofRegion: 0)
    for vring in [port.receive, port.transmit] { if let call = vring.call { EventFD.drain(call) } }
    for vring in [port.receive, port.transmit] { if let kick = vring.kick { EventFD.signal(kick) } }
    usleep(50_000)
    #expect(guest.contents(ofRegion: 0) == before)
    for vring in [port.receive, port.transmit] { #expect(EventFD.drain(try #require(vring.call)) == 0) }
    // Where its rings stand it cannot say, but it is closed.
    #expect(try simulation.close().isEmpty)
    // A split ring of a device that completes in order can be resumed where the used index is: nothing is lost or doubled.
    try simulation.device.clearFaults()
    try simulation.configure(guest.memory(), port.vrings)
    #expect(try port.take(20) == packets)
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test func aDeviceThatIsGoneCannotBeClaimedUntilItIsBack() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    try simulation.device.inject(.vanishing)
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    #expect(simulation.observer.reports.count == 1)
    // Closed, so that the memory is let go of.
    simulation.context.release()
    func claim() throws -> DeviceContext {
      try simulation.registry.claim(simulation.context.handle, type: .net, owner: "vm1.sock")
    }
    let error = #expect(throws: VDPAError.self) { try claim() }
    #expect(error?.message.contains("vanished") == true)
    try simulation.device.clear(.vanishing)
    try claim().release()
    try simulation.end()
  }

  @Test func aDeviceThatComesBackBeforeItIsClosedIsClosedAllTheSame() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    try simulation.device.inject(.vanishing)
    try simulation.device.clearFaults()
    #expect(try simulation.close().isEmpty)
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<10).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test func aDelayedOperationOfADeviceThatVanishesFails() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    try simulation.device.inject(.delay(of: .setVring, milliseconds: 3_600_000))
    try simulation.device.inject(.vanishing, afterPackets: 3)
    port.refill()
    port.send((0..<3).map { packet($0, length: 64) })
    #expect(throws: VDPAError.self) { try simulation.setVring(port.receive.vring()) }
    try simulation.end()
  }

  // MARK: Wrong writes

  /// Which ring, in which format, with what wrong.
  static let corruptions = formats.flatMap { format in
    [0, 1].flatMap { index in SimulatedFault.Corruption.allCases.map { (format, index, $0) } }
  }

  @Test(arguments: corruptions) func aCorruptUsedEntryIsSeenByTheDriver(
    format: Features, index: Int, corruption: SimulatedFault.Corruption
  ) throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest, features: format)
    let features = Simulation.features.union(format)
    try simulation.configure(guest.memory(), port.vrings, features: features)
    let packets = (0..<10).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.device.inject(.corruptUsedEntry(vring: index, corruption), once: true)
    let vring = index == 0 ? port.receive : port.transmit
    port.refill()
    port.send([packets[0]])
    var fault: DriverRing.DeviceFault?
    #expect(
      eventually {
        do { _ = try vring.collect() } catch { fault = error as? DriverRing.DeviceFault }
        return fault != nil
      })
    #expect(fault == (corruption == .id ? .unknownHead(UInt32(vring.size)) : .tooLong(.max)))
    // The other ring, and the device, are in order.
    #expect(simulation.observer.reports.isEmpty)
    let other = index == 0 ? port.transmit : port.receive
    #expect(try eventually { try other.collect() != nil })
    try simulation.end()
  }

  @Test(arguments: translations) func aWriteWithoutAMappingIsRefused(translation: String) throws {
    let simulation = try Simulation("queues=2,translation=\(translation)")
    let guest = try TestGuest(regions: [4 << 20, 4096])
    let ports = try (0..<2).map { try TestPort(guest, pair: $0) }
    try simulation.configure(guest.memory(), ports.flatMap(\.vrings))
    let packets = (0..<100).map { packet($0, length: 64) }
    for port in ports { #expect(try port.roundTrip(packets) == packets) }
    let before = guest.contents(ofRegion: 1)
    try simulation.device.inject(.strayWrite(vring: 2), once: true)
    #expect(eventually { simulation.observer.reports.count == 1 })
    guard case .vringBroken(index: 2, let reason) = try #require(simulation.observer.reports.first) else {
      Issue.record("\(simulation.observer.reports)")
      return
    }
    #expect(reason.contains("outside of guest memory"))
    #expect(simulation.device.dmaMap.refusedAccesses == 1)
    #expect(guest.contents(ofRegion: 1) == before)
    #expect(try ports[0].roundTrip(packets) == packets)
    #expect(simulation.device.dmaMap.refusedAccesses == 1)
    try simulation.end()
  }
}
