import Foundation
import SimulatorEngine
import Synchronization
import Testing
import VDPA
import Virtio

struct OperationFaultTests {
  /// A claimed device without a framework around it, and the memory of a guest.
  private struct Bare {
    let engine: SimulatorEngine
    let device: any Device
    let guest: TestGuest
    let memory: GuestMemory
    let port: TestPort

    init() throws {
      let parameters: Parameters = ["queues": "1", "notify-area": "on"]
      let started = try SimulatorDriver().start(at: EngineAddress("virtual", parameters: parameters))
      engine = try #require(started as? SimulatorEngine)
      device = try engine.open(DeviceRequest(device: 0, owner: "test", type: .net))
      guest = try TestGuest()
      memory = try guest.memory()
      port = try TestPort(guest)
    }

    var simulated: SimulatedDevice {
      get throws { try #require(engine.simulatedDevice(0)) }
    }

    func configure() throws {
      try device.configure(
        DeviceSetup(features: Simulation.features, memory: memory, vrings: port.vrings, observer: TestObserver()))
    }

    /// Brings the device to where an operation makes sense.
    func prepare(for operation: SimulatedOperation) throws {
      if operation == .map { return }
      try call(.map)
      if operation == .configure || operation == .unmap { return }
      try configure()
      if operation == .resume { try call(.suspend) }
    }

    func call(_ operation: SimulatedOperation) throws {
      let capabilities = device.capabilities
      switch operation {
      case .configure: try configure()
      case .close: _ = try device.close()
      case .setVring: try device.setVring(port.receive.description, enabled: true)
      case .setFeatures: try device.setFeatures(Simulation.features)
      case .migrationDone: try device.migrationDone()
      case .memoryChanged: try device.memoryChanged(from: memory, to: memory)
      case .map: try #require(capabilities.dmaTranslation).map(memory.addressMap.ranges[0])
      case .unmap:
        let range = memory.addressMap.ranges[0]
        try #require(capabilities.dmaTranslation).unmap(start: range.start, size: range.size)
      case .stopVring: _ = try #require(capabilities.vringControl).stopVring(0)
      case .suspend: _ = try #require(capabilities.suspension).suspend()
      case .resume: try #require(capabilities.suspension).resume()
      case .setLog: try #require(capabilities.dirtyTracking).setLog(nil)
      case .announce: try #require(capabilities.announcement).announce(.zero)
      case .setMTU: try #require(capabilities.mtuControl).setMTU(1400)
      case .doorbell: _ = try #require(capabilities.notifyArea).doorbell(of: 0)
      }
    }
  }

  @Test(arguments: SimulatedOperation.allCases) func anOperationFailsOnceAndThenWorks(
    operation: SimulatedOperation
  ) throws {
    let bare = try Bare()
    defer { bare.engine.stop() }
    try bare.prepare(for: operation)
    try bare.simulated.inject(.failure(of: operation), once: true)
    let error = #expect(throws: SimulatorError.self) { try bare.call(operation) }
    #expect(error?.code == .injected)
    #expect(error?.message.contains(operation.rawValue) == true)
    try bare.call(operation)
  }

  @Test func afterAFailureTheDeviceIsAsItWas() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.device.inject(.failure(of: .configure))
    for _ in 0..<2 { #expect(throws: VDPAError.self) { try simulation.configure(guest.memory(), port.vrings) } }
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    try simulation.device.clearFaults()
    try simulation.configure(guest.memory(), port.vrings)
    try simulation.device.inject(.failure(of: .memoryChanged), once: true)
    #expect(throws: VDPAError.self) { try simulation.changeMemory(to: guest.memory()) }
    _ = try simulation.close()
    try simulation.end()
  }

  @Test func aFaultWaitsForPackets() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    try simulation.device.inject(.failure(of: .setVring), afterPackets: 20)
    let packets = (0..<19).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.setVring(port.receive.vring())
    #expect(try port.roundTrip([packets[0]]) == [packets[0]])
    #expect(throws: VDPAError.self) { try simulation.setVring(port.receive.vring()) }
    try simulation.end()
  }

  @Test func anOperationThatIsDelayedHoldsUpNoPacket() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    try simulation.device.inject(.delay(of: .setVring, milliseconds: 60_000))
    let isDone = Mutex(false)
    simulation.context.setVring(port.receive.vring()) { _ in isDone.withLock { $0 = true } }
    for seed in 0..<10 {
      let packets = (0..<50).map { packet($0, length: 64, seed: seed) }
      #expect(try port.roundTrip(packets) == packets)
    }
    #expect(!isDone.withLock { $0 })
    try simulation.device.clearFaults()
    #expect(eventually { isDone.withLock { $0 } })
    // And one that is not cleared takes its time.
    try simulation.device.inject(.delay(of: .setVring, milliseconds: 100))
    let before = Date()
    try simulation.setVring(port.receive.vring())
    #expect(Date().timeIntervalSince(before) >= 0.1)
    try simulation.end()
  }

  @Test(arguments: ["on-chip", "platform"]) func aDeviceThatRefusesToStopIsCutOffFromMemory(
    translation: String
  ) throws {
    let simulation = try Simulation("queues=1,translation=\(translation)")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    try simulation.device.inject(.refusalToStop)
    let packets = (0..<100).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    // It says nothing of its rings, and nobody is given it.
    #expect(try simulation.close() == [])
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    let error = #expect(throws: VDPAError.self) { try simulation.configure(guest.memory(), port.vrings) }
    #expect(error?.code == .stuck)
    try simulation.device.clear(.refusalToStop)
    #expect(try simulation.close().map(\.nextUsed).sorted() == [100, 100])
    try simulation.end()
  }

  @Test(arguments: [SimulatedOperation.stopVring, .suspend]) func nothingElseStopsItEither(
    operation: SimulatedOperation
  ) throws {
    let bare = try Bare()
    defer { bare.engine.stop() }
    try bare.prepare(for: operation)
    try bare.simulated.inject(.refusalToStop)
    let error = #expect(throws: SimulatorError.self) { try bare.call(operation) }
    #expect(error?.code == .refusedToStop)
    let packets = (0..<10).map { packet($0, length: 64) }
    #expect(try bare.port.roundTrip(packets) == packets)
  }

  @Test(arguments: SimulatedOperation.allCases) func ofADeviceThatIsGoneOnlyWhatTakesAwayWorks(
    operation: SimulatedOperation
  ) throws {
    let bare = try Bare()
    defer { bare.engine.stop() }
    try bare.prepare(for: operation)
    try bare.simulated.inject(.vanishing)
    if operation == .close || operation == .unmap {
      try bare.call(operation)
    } else {
      let error = #expect(throws: SimulatorError.self) { try bare.call(operation) }
      #expect(error?.code == .vanished)
    }
  }
}
