import Synchronization
import Testing
import VDPA
import Virtio

struct BusTests {
  /// Keeps the events, as text.
  private final class Listener: BusDelegate {
    let events = Mutex<[BusEvent]>([])
    /// What to do with a device that appears.
    let take: (@Sendable (Registry, BusDevice) -> Void)?

    init(_ take: (@Sendable (Registry, BusDevice) -> Void)? = nil) { self.take = take }

    var all: [String] {
      events.withLock { events in
        events.map { event in
          switch event {
          case .appeared(let device): "appeared \(device)"
          case .disappeared(let handle): "disappeared \(handle)"
          case .claimed(let device): "claimed \(device)"
          case .released(let handle): "released \(handle)"
          }
        }
      }
    }

    func bus(_ registry: Registry, event: BusEvent) {
      events.withLock { $0.append(event) }
      if case .appeared(let device) = event { take?(registry, device) }
    }
  }

  private func registry() throws -> Registry {
    let registry = Registry(software: MockEngine(devices: 0))
    try registry.register(MockDriver())
    return registry
  }

  @Test("Devices come and go with their engine, and everybody is told of it in order")
  func hotplug() async throws {
    let registry = try registry()
    let listener = Listener()
    registry.setDelegate(listener)
    let stream = registry.busEvents
    #expect(registry.devices.isEmpty)
    let engine = try registry.addEngine(driver: "mock", at: EngineAddress("here"))
    #expect(registry.devices.map(\.handle.device) == [0, 1])
    let context = try registry.claim(DeviceHandle(engine: engine, device: 1), type: .net, by: .virtio, owner: "a test")
    #expect(registry.devices.map(\.claim?.description) == [nil, "virtio for a test"])
    // What it is shows when it has been claimed: this engine does not say so before.
    #expect(registry.devices.map(\.attributes?.type) == [nil, .net])
    context.release()
    #expect(registry.devices.allSatisfy { $0.claim == nil && $0.attributes == nil })
    try registry.removeEngine(engine)
    #expect(registry.devices.isEmpty)
    let expected = [
      "appeared engine 0 device 0 (mock): free", "appeared engine 0 device 1 (mock): free",
      "claimed engine 0 device 1 (mock, net): virtio for a test", "released engine 0 device 1",
      "disappeared engine 0 device 0", "disappeared engine 0 device 1",
    ]
    #expect(listener.all == expected)
    var heard: [BusEvent] = []
    for await event in stream {
      heard.append(event)
      if heard.count == expected.count { break }
    }
    #expect(heard == listener.events.withLock { $0 })
  }

  /// An engine whose devices come and go.
  private final class ChangingEngine: Engine, EngineDriver {
    let name = "changing"
    let count = Atomic<Int>(1)
    var attributes: EngineAttributes { EngineAttributes(deviceCount: count.load(ordering: .relaxed)) }
    func start(at address: EngineAddress) throws -> any Engine { self }
    func open(_ request: DeviceRequest) throws -> sending any Device { try MockEngine().open(request) }
    func stop() {}
  }

  @Test("Devices that come and go while their engine runs are told of when it is looked at again")
  func rescan() throws {
    let registry = try registry()
    let driver = ChangingEngine()
    try registry.register(driver)
    let engine = try registry.addEngine(driver: "changing", at: EngineAddress("here"))
    let listener = Listener()
    registry.setDelegate(listener)
    registry.matchRules = [MatchRule(engineDriver: "changing", busDriver: .virtio)]
    driver.count.store(3, ordering: .relaxed)
    try registry.rescan(engine)
    // What was there keeps what it has: the rule came later.
    #expect(registry.devices.map(\.driverOverride) == [nil, .virtio, .virtio])
    #expect(listener.all == [1, 2].map { "appeared engine 0 device \($0) (changing): free, for virtio only" })
    let kept = try registry.claim(DeviceHandle(engine: engine, device: 2), type: .net, by: .virtio, owner: "a test")
    driver.count.store(1, ordering: .relaxed)
    try registry.rescan(engine)
    try registry.rescan(engine)
    #expect(listener.all.suffix(2) == ["disappeared engine 0 device 1", "disappeared engine 0 device 2"])
    #expect(registry.devices.map(\.handle.device) == [0])
    #expect(throws: VDPAError.self) { try registry.removeEngine(engine) }
    kept.release()
    try registry.removeEngine(engine)
    #expect(listener.all.last == "disappeared engine 0 device 0")
    #expect(throws: VDPAError.self) { try registry.rescan(engine) }
    try registry.rescan(.software)
  }

  @Test("An engine that does not start puts nothing on the bus, and a claim that fails is no event")
  func failures() throws {
    let registry = try registry()
    let listener = Listener()
    registry.setDelegate(listener)
    #expect(throws: VDPAError.self) { try registry.addEngine(driver: "mock", at: EngineAddress("broken")) }
    #expect(listener.all.isEmpty && registry.devices.isEmpty)
    let engine = try registry.addEngine(driver: "mock", at: EngineAddress("here"))
    #expect(throws: VDPAError.self) {
      try registry.claim(DeviceHandle(engine: engine, device: 0), type: .block, owner: "x")
    }
    #expect(listener.all.count == 2)
    #expect(registry.devices.allSatisfy { $0.claim == nil })
  }

  @Test("A device that is set aside for one bus driver is refused to others, with what to do")
  func overrides() throws {
    let registry = try registry()
    let engine = try registry.addEngine(driver: "mock", at: EngineAddress("here"))
    let device = DeviceHandle(engine: engine, device: 0)
    try registry.setDriverOverride(.vhostUser, of: device)
    #expect(try registry.information(of: device).driverOverride == .vhostUser)
    let error = try #require(throws: VDPAError.self) {
      try registry.claim(device, type: .net, by: .virtio, owner: "self-test")
    }
    #expect(error.code == .wrongBusDriver)
    for part in ["engine 0 device 0", "vhostUser", "virtio", "self-test", "driverOverride"] {
      #expect(error.message.contains(part), "\(error)")
    }
    // Who has it keeps it.
    let context = try registry.claim(device, type: .net, by: .vhostUser, owner: "vm0.sock")
    try registry.setDriverOverride(.virtio, of: device)
    #expect(try registry.information(of: device).claim?.driver == .vhostUser)
    context.release()
    #expect(throws: VDPAError.self) { try registry.claim(device, type: .net, by: .vhostUser, owner: "vm0.sock") }
    try registry.setDriverOverride(nil, of: device)
    try registry.claim(device, type: .net, owner: "vm0.sock").release()
    // The next engine of that id begins anew.
    try registry.setDriverOverride(.virtio, of: device)
    try registry.removeEngine(engine)
    #expect(throws: VDPAError.self) { try registry.setDriverOverride(.virtio, of: device) }
    try registry.addEngine(driver: "mock", at: EngineAddress("here"))
    #expect(registry.devices.allSatisfy { $0.driverOverride == nil })
    #expect(throws: VDPAError.self) { try registry.setDriverOverride(.virtio, of: .software) }
  }

  @Test("The first rule that fits says for whom a device is that appears")
  func rules() throws {
    let registry = try registry()
    registry.matchRules = [
      MatchRule(engineDriver: "other", busDriver: "nobody"), MatchRule(address: "there", busDriver: .virtio),
      MatchRule(device: 1, busDriver: .vhostUser), MatchRule(type: .net, busDriver: "nobody"),
      MatchRule(address: "here", device: 1, busDriver: "too late"),
    ]
    try registry.addEngine(driver: "mock", at: EngineAddress("here"))
    registry.matchRules = [MatchRule(engineDriver: "mock", address: "there", busDriver: "mine")]
    try registry.addEngine(driver: "mock", at: EngineAddress("there"))
    #expect(registry.devices.map(\.driverOverride) == [nil, .vhostUser, "mine", "mine"])
  }

  @Test("A bus driver takes devices as they appear, those that are for it")
  func byRule() throws {
    let registry = try registry()
    let taken = Mutex<[DeviceContext]>([])
    let listener = Listener { registry, device in
      guard device.driverOverride == "mine" else { return }
      let context = try? registry.claim(device.handle, type: .net, by: "mine", owner: "a rule")
      taken.withLock { $0.append(contentsOf: [context].compactMap(\.self)) }
    }
    registry.setDelegate(listener)
    registry.matchRules = [MatchRule(device: 1, busDriver: "mine")]
    try registry.addEngine(driver: "mock", at: EngineAddress("here"))
    #expect(registry.devices.map(\.claim?.description) == [nil, "mine for a rule"])
    for context in taken.withLock({ $0 }) { context.release() }
  }
}
