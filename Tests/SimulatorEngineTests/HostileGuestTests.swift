import SimulatorEngine
import Testing
import VDPA
import Virtio

struct HostileGuestTests {
  /// What a guest may write into its rings that no correct driver writes.
  enum Attack: String, CaseIterable {
    case unmappedBuffer, bufferPastTheEnd, wildAddress, headOutOfRange, nextOutOfRange, loop, indirect, writable
    case shortHeader, availableIndex

    func run(on vring: TestVring, inside address: UInt64, end: UInt64) {
      typealias Descriptor = RingDescriptor
      let size = UInt16(vring.size)
      func descriptor(_ address: UInt64, _ length: UInt32 = 64, flags: UInt16 = 0, next: UInt16 = 0) {
        vring.area.setDescriptor(0, Descriptor(address: address, length: length, flags: flags, link: next))
      }
      vring.area.setHead(at: 0, self == .headOutOfRange ? size : 0)
      switch self {
      case .unmappedBuffer: descriptor(0)
      case .bufferPastTheEnd: descriptor(end - 63)
      case .wildAddress: descriptor(UInt64.max - 10)
      case .headOutOfRange, .availableIndex: descriptor(address)
      case .nextOutOfRange: descriptor(address, flags: Descriptor.next, next: size)
      case .loop: descriptor(address, 0, flags: Descriptor.next, next: 0)
      case .indirect: descriptor(address, flags: Descriptor.indirect)
      case .writable: descriptor(address, flags: Descriptor.write)
      case .shortHeader: descriptor(address, 11)
      }
      vring.area.publishAvailIndex(self == .availableIndex ? size + 1 : 1)
      if let kick = vring.kick { EventFD.signal(kick) }
    }

    var isRefusedAccess: Bool { [.unmappedBuffer, .bufferPastTheEnd, .wildAddress].contains(self) }
  }

  @Test(arguments: Attack.allCases, LoopbackTests.orders) func aBrokenRingIsReportedAndTheOtherPairGoesOn(
    attack: Attack, order: String
  ) throws {
    let simulation = try Simulation("queues=2,order=\(order)")
    let guest = try TestGuest()
    let ports = try (0..<2).map { try TestPort(guest, pair: $0) }
    try simulation.configure(guest.memory(), ports.flatMap(\.vrings))
    ports[0].refill()
    attack.run(on: ports[0].transmit, inside: guest.allocate(4096), end: guest.regions[0].guestEnd)
    #expect(eventually { simulation.observer.reports.count == 1 })
    guard case .vringBroken(index: 1, _) = try #require(simulation.observer.reports.first) else {
      Issue.record("\(simulation.observer.reports)")
      return
    }
    let packets = (0..<200).map { packet($0, length: 64) }
    #expect(try ports[1].roundTrip(packets) == packets)
    #expect(simulation.observer.reports.count == 1)
    #expect(simulation.device.dmaMap.refusedAccesses == (attack.isRefusedAccess ? 1 : 0))
    #expect(eventually { simulation.device.statistics[1].broken == 1 })
    #expect(simulation.device.statistics[3].broken == 0)
    // Nothing was taken from the broken ring, and a new start repairs it.
    let states = try simulation.close()
    #expect(states[1] == VringState(index: 1, nextAvail: 0, nextUsed: 0))
    let other = try TestGuest()
    let port = try TestPort(other)
    try simulation.configure(other.memory(), port.vrings)
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test(arguments: LoopbackTests.orders) func packetsBeforeTheFaultAreServed(order: String) throws {
    let simulation = try Simulation("queues=1,order=\(order)")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    // All of it is there before the device looks for the first time.
    port.refill()
    port.send((0..<5).map { packet($0, length: 64) })
    _ = port.transmit.driver.add([DriverRing.Piece(address: 0, length: 64, isWritable: false)])
    port.transmit.publish()
    try simulation.configure(guest.memory(), port.vrings)
    #expect(eventually { simulation.observer.reports.count == 1 })
    #expect(try port.reap() == 5)
    for i in 0..<5 { #expect(try port.take() == packet(i, length: 64)) }
    #expect(try simulation.close().map(\.nextUsed) == [5, 5])
    try simulation.end()
  }

  @Test func aHugePacketIsDroppedAndCounted() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    port.refill()
    let address = guest.allocate(1 << 20)
    _ = port.transmit.driver.add([DriverRing.Piece(address: address, length: 1 << 20, isWritable: false)])
    port.transmit.publish()
    #expect(eventually { simulation.device.statistics[1].oversized == 1 })
    #expect(simulation.device.statistics[1].dropped == 1)
    #expect(simulation.observer.reports.isEmpty)
    try simulation.end()
  }
}
