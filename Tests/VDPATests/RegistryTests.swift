import Testing
import VDPA
import Virtio

struct RegistryTests {
  private func registry(_ engine: MockEngine = MockEngine()) throws -> Registry {
    let registry = Registry(software: MockEngine(devices: 0))
    try registry.register(MockDriver(engine: engine))
    return registry
  }

  private func error(_ body: () throws -> Void) -> VDPAError? { #expect(throws: VDPAError.self, performing: body) }

  @Test func aDriverNameIsRegisteredOnce() throws {
    let registry = try registry()
    let error = error { try registry.register(MockDriver()) }
    #expect(error?.code == .driverExists)
    #expect(error?.message.contains("\"mock\"") == true)
    #expect(code { try registry.register(MockDriver(name: "software")) } == .driverExists)
    try registry.register(MockDriver(name: "another"))
    #expect(registry.drivers == ["another", "mock"])
  }

  @Test func anUnknownDriverIsNamedWithTheKnownOnes() throws {
    let registry = try registry()
    let error = error { try registry.addEngine(driver: "mok", at: EngineAddress("x")) }
    #expect(error?.code == .unknownDriver)
    #expect(error?.message.contains("\"mok\"") == true)
    #expect(error?.message.contains("mock") == true)
    #expect(code { try registry.unregister(driver: "mok") } == .unknownDriver)
  }

  @Test func aFailingStartLeavesNothing() throws {
    let registry = try registry()
    let error = error { try registry.addEngine(driver: "mock", at: EngineAddress("broken")) }
    #expect(error?.code == .engineStartFailed)
    #expect(error?.message.contains("no such hardware") == true)
    #expect(registry.engines.map(\.handle.id) == [-1])
    #expect(try registry.addEngine(driver: "mock", at: EngineAddress("x")).id == 0)
  }

  @Test func enginesGetTheLowestFreeId() throws {
    let registry = try registry()
    let handles = try (0..<3).map { try registry.addEngine(driver: "mock", at: EngineAddress("\($0)")) }
    #expect(handles.map(\.id) == [0, 1, 2])
    try registry.removeEngine(handles[1])
    #expect(registry.engines.map(\.handle.id) == [-1, 0, 2])
    #expect(try registry.addEngine(driver: "mock", at: EngineAddress("x")).id == 1)
    #expect(try registry.addEngine(driver: "mock", at: EngineAddress("x")).id == 3)
    #expect(registry.engines.map(\.driver) == ["software", "mock", "mock", "mock", "mock"])
  }

  @Test func aStaleHandleIsNeverAnotherEngine() throws {
    let registry = try registry()
    let old = try registry.addEngine(driver: "mock", at: EngineAddress("x"))
    try registry.removeEngine(old)
    #expect(code { try registry.removeEngine(old) } == .unknownEngine)
    let new = try registry.addEngine(driver: "mock", at: EngineAddress("x"))
    #expect(new.id == old.id)
    #expect(new != old)
    #expect(code { try registry.removeEngine(old) } == .staleHandle)
    #expect(
      code { _ = try registry.claim(DeviceHandle(engine: old, device: 0), type: .net, owner: "vm0") } == .staleHandle)
    try registry.removeEngine(new)
  }

  @Test func numbersOutOfRangeAreErrors() throws {
    let registry = try registry()
    try registry.addEngine(driver: "mock", at: EngineAddress("x"))
    #expect(try registry.device(engine: 0, device: 1).description == "engine 0 device 1")
    #expect(try registry.device(engine: -1, device: -1) == .software)
    for device in [-1, 2, Int.max, Int.min] {
      #expect(code { _ = try registry.device(engine: 0, device: device) } == .unknownDevice)
    }
    for engine in [-2, 1, Int.max, Int.min] {
      #expect(code { _ = try registry.device(engine: engine, device: 0) } == .unknownEngine)
    }
    for device in [0, -2] {
      #expect(code { _ = try registry.device(engine: -1, device: device) } == .unknownDevice)
      #expect(
        code {
          _ = try registry.claim(DeviceHandle(engine: .software, device: device), type: .net, owner: "vm0")
        } == .unknownDevice)
    }
  }

  @Test func aDeviceHasOneOwner() throws {
    let registry = try registry()
    let engine = try registry.addEngine(driver: "mock", at: EngineAddress("x"))
    let handle = DeviceHandle(engine: engine, device: 1)
    let context = try registry.claim(handle, type: .net, owner: "vm0.sock")
    let error = error { _ = try registry.claim(handle, type: .net, owner: "vm1.sock") }
    #expect(error?.code == .deviceInUse)
    #expect(error?.message.contains("vm0.sock") == true)
    context.release()
    context.release()
    try registry.claim(handle, type: .net, owner: "vm1.sock").release()
  }

  @Test func theSoftwareEngineMakesADeviceForEachClaim() throws {
    let registry = try registry()
    let first = try registry.claim(.software, type: .net, owner: "vm0.sock")
    let second = try registry.claim(.software, type: .net, owner: "vm1.sock")
    #expect(first.driver == "software")
    #expect(first.handle == second.handle)
    #expect(code { try registry.removeEngine(.software) } == .engineInUse)
    first.release()
    second.release()
  }

  @Test func anEngineInUseStaysAndNamesItsUsers() throws {
    let journal = Journal()
    let registry = try registry(MockEngine(journal: journal))
    let engine = try registry.addEngine(driver: "mock", at: EngineAddress("x"))
    let contexts = try (0..<2).map {
      try registry.claim(DeviceHandle(engine: engine, device: $0), type: .net, owner: "vm\($0).sock")
    }
    let error = error { try registry.removeEngine(engine) }
    #expect(error?.code == .engineInUse)
    #expect(error?.message.contains("device 0 by vm0.sock, device 1 by vm1.sock") == true)
    #expect(!journal.all.contains("stop"))
    for context in contexts { context.release() }
    try registry.removeEngine(engine)
    #expect(journal.all.last == "stop")
  }

  @Test func aDriverInUseStays() throws {
    let registry = try registry()
    let engine = try registry.addEngine(driver: "mock", at: EngineAddress("x"))
    let error = error { try registry.unregister(driver: "mock") }
    #expect(error?.code == .driverInUse)
    #expect(error?.message.contains("engine 0") == true)
    try registry.removeEngine(engine)
    try registry.unregister(driver: "mock")
    #expect(registry.drivers.isEmpty)
  }

  @Test func aFailedClaimLeavesTheDeviceFree() throws {
    let registry = Registry(software: MockEngine(devices: 0))
    try registry.register(MockDriver(name: "failing", engine: MockEngine(failing: ["open"])))
    try registry.register(MockDriver())
    let failing = try registry.addEngine(driver: "failing", at: EngineAddress("x"))
    let error = error { _ = try registry.claim(DeviceHandle(engine: failing, device: 0), type: .net, owner: "vm0") }
    #expect(error?.code == .deviceOpenFailed)
    #expect(error?.message.contains("the device does not answer") == true)
    try registry.removeEngine(failing)

    let engine = try registry.addEngine(driver: "mock", at: EngineAddress("x"))
    let handle = DeviceHandle(engine: engine, device: 0)
    #expect(code { _ = try registry.claim(handle, type: .block, owner: "vm0") } == .wrongDeviceType)
    try registry.claim(handle, type: .net, owner: "vm0").release()
  }

  @Test func aDeviceIsLetGoOfBeforeItCanBeClaimedAgain() throws {
    let journal = Journal()
    let registry = try registry(MockEngine(journal: journal))
    let engine = try registry.addEngine(driver: "mock", at: EngineAddress("x"))
    let handle = DeviceHandle(engine: engine, device: 0)
    let context = try registry.claim(handle, type: .net, owner: "vm0")
    context.release()
    let next = try registry.claim(handle, type: .net, owner: "vm1")
    #expect(journal.all == ["open 0 for vm0", "gone", "open 0 for vm1"])
    withExtendedLifetime(context) {}
    next.release()
  }
}
