import Foundation
import SimulatorEngine
import Testing
import VDPA
import Virtio

struct MemoryChangeTests {
  static let translations = ["on-chip", "platform", "on-chip,order=out", "platform,order=out"]

  /// Rings in the first region, buffers in the second.
  private func start(_ translation: String) throws -> (Simulation, TestGuest, TestPort) {
    let simulation = try Simulation("queues=1,translation=\(translation)")
    let guest = try TestGuest(regions: [1 << 20, 1 << 20, 1 << 20])
    return (simulation, guest, try TestPort(guest, region: 0, bufferRegion: 1))
  }

  @Test(arguments: translations) func trafficGoesOnInTheNewMemory(translation: String) throws {
    let (simulation, guest, port) = try start(translation)
    let first = try guest.memory([0, 1])
    try simulation.configure(first, port.vrings)
    var packets = (0..<100).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    // One region more, one less, and all of them replaced by equal ones (SET_MEM_TABLE).
    let second = try first.adding(guest.regions[2], file: guest.file.descriptor)
    let third = try second.removing(guest.regions[2])
    for (i, memory) in [second, third, try guest.memory([0, 1])].enumerated() {
      try simulation.changeMemory(to: memory)
      #expect(simulation.device.dmaMap.ranges.map(\.start) == memory.addressMap.ranges.map(\.start))
      packets = (0..<100).map { packet($0, length: 64, seed: i) }
      #expect(try port.roundTrip(packets) == packets)
    }
    #expect(simulation.device.dmaMap.refusedAccesses == 0)
    _ = try simulation.close()
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    try simulation.end()
  }

  @Test(arguments: translations) func removedMemoryIsNeverTouched(translation: String) throws {
    let (simulation, guest, port) = try start(translation)
    let memory = try guest.memory([0, 1])
    try simulation.configure(memory, port.vrings)
    let packets = (0..<100).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.changeMemory(to: try memory.removing(guest.regions[1]))
    #expect(simulation.device.dmaMap.ranges.map(\.start) == [guest.regions[0].guestAddress])
    // The guest's own mapping of it still works, so a write would be seen.
    let canary = [UInt8](repeating: 0xa5, count: Int(guest.regions[1].size))
    guest.write(canary, at: guest.regions[1].guestAddress)
    // Send from memory that stayed: the payload can be read, but there is nowhere to write it.
    let inside = guest.allocate(4096, region: 0)
    let piece = DriverRing.Piece(address: inside, length: 76, isWritable: false)
    _ = port.transmit.driver.add([piece])
    port.refill()
    port.transmit.publish()
    #expect(eventually { simulation.observer.reports.count == 1 })
    let report = try #require(simulation.observer.reports.first)
    guard case .vringBroken(index: 0, let reason) = report else {
      Issue.record("\(report)")
      return
    }
    #expect(reason.contains("outside of guest memory"))
    #expect(simulation.device.dmaMap.refusedAccesses == 1)
    #expect(eventually { simulation.device.statistics[0].broken == 1 })
    #expect(guest.contents(ofRegion: 1) == canary)
    #expect(try port.reap() == 0)
    try simulation.end()
  }

  @Test(arguments: translations) func ringsThatAreGoneCloseTheDevice(translation: String) throws {
    let (simulation, guest, port) = try start(translation)
    try simulation.configure(try guest.memory([0, 1]), port.vrings)
    let packets = (0..<10).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    let error = #expect(throws: VDPAError.self) { try simulation.changeMemory(to: try guest.memory([1, 2])) }
    #expect(error?.message.contains("descriptor table") == true)
    #expect(try simulation.close().map(\.nextUsed) == [10, 10])
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    let before = guest.contents(ofRegion: 0)
    if let kick = port.transmit.kick { EventFD.signal(kick) }
    usleep(20_000)
    #expect(guest.contents(ofRegion: 0) == before)
    // It can be configured again.
    try simulation.configure(try guest.memory(), try TestPort(guest, region: 2).vrings)
    try simulation.end()
  }

  /// The framework maps everything readable and writable; a device that is told otherwise obeys.
  @Test func aRangeThatMayOnlyBeReadIsNotWritten() throws {
    let engine = try #require(
      try SimulatorDriver().start(at: EngineAddress("virtual", parameters: ["queues": "1"])) as? SimulatorEngine)
    defer { engine.stop() }
    let device = try engine.open(DeviceRequest(device: 0, owner: "test", type: .net))
    let translation = try #require(device.capabilities.dmaTranslation)
    let guest = try TestGuest(regions: [1 << 20, 1 << 20])
    let port = try TestPort(guest, region: 0, bufferRegion: 1)
    let memory = try guest.memory()
    try translation.map(memory.addressMap.ranges[0])
    try translation.map(memory.addressMap.ranges[1].limited(to: .read))
    #expect(throws: SimulatorError.self) { try translation.map(memory.addressMap.ranges[1]) }
    #expect(throws: SimulatorError.self) { try translation.unmap(start: 0, size: 4096) }
    let observer = TestObserver()
    try device.configure(
      DeviceSetup(features: Simulation.features, memory: memory, vrings: port.vrings, observer: observer))
    guest.write([UInt8](repeating: 0xa5, count: 1 << 20), at: guest.regions[1].guestAddress)
    port.refill()
    port.send([packet(0, length: 64)])
    let before = guest.contents(ofRegion: 1)
    #expect(eventually { observer.reports.count == 1 })
    #expect(engine.simulatedDevice(0)?.dmaMap.refusedAccesses == 1)
    #expect(guest.contents(ofRegion: 1) == before)
    #expect(try device.close().map(\.nextUsed) == [0, 0])
  }
}
