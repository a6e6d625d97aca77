import Foundation
import Synchronization
import Testing
import VDPA
import Virtio

struct DeviceContextTests {
  private static let blocking = attributes { $0.operationsMayBlock = true }

  private static func attributes(_ change: (inout DeviceAttributes) -> Void) -> DeviceAttributes {
    var attributes = MockEngine.netDevice
    change(&attributes)
    return attributes
  }

  /// Claims a device. The registry has to be kept: it takes the claim back.
  private func claim(_ engine: MockEngine, device: Int = 0) throws -> (Registry, DeviceContext) {
    let registry = Registry(software: MockEngine(devices: 0))
    try registry.register(MockDriver(engine: engine))
    let handle = try registry.addEngine(driver: "mock", at: EngineAddress("x"))
    return (
      registry, try registry.claim(DeviceHandle(engine: handle, device: device), type: .net, owner: "vm0.sock")
    )
  }

  private func setup(
    memory: GuestMemory = .empty, features: Features = [.version1], vrings: [VringDescription] = []
  ) -> DeviceSetup {
    DeviceSetup(
      features: features, memory: memory, vrings: vrings.map { DeviceSetup.Vring($0, isEnabled: true) },
      observer: SilentObserver())
  }

  private func vring(_ index: Int, size: Int = 256, start: UInt16 = 0) -> VringDescription {
    VringDescription(
      index: index, size: size, descriptor: 0, avail: 0, used: 0,
      state: VringState(index: index, nextAvail: start, nextUsed: start))
  }

  @Test(arguments: [false, true]) func operationsComeInOrder(blocking: Bool) throws {
    let journal = Journal()
    let device = blocking ? DeviceContextTests.blocking : MockEngine.netDevice
    let (registry, context) = try claim(MockEngine(journal: journal, device: device, hasMap: true))
    let (first, second) = (try pages(at: [0x1000, 0x5000]), try pages(at: [0x5000]))
    let states = Answer<[VringState]>()
    context.configure(setup(memory: first)) { _ in journal.note("configured") }
    context.setVring(DeviceSetup.Vring(vring(1), isEnabled: false)) { _ in journal.note("vring set") }
    context.setFeatures([.version1]) { _ in journal.note("features set") }
    context.migrationDone { _ in journal.note("migrated") }
    context.changeMemory(to: second) { _ in journal.note("memory changed") }
    context.close { result in
      journal.note("closed")
      states.put(result)
    }
    #expect(try states.get().get() == [VringState(index: 0, nextAvail: 7, nextUsed: 5)])
    #expect(
      journal.all == [
        "open 0 for vm0.sock", "map 0x1000", "map 0x5000", "configure", "configured", "setVring", "vring set",
        "setFeatures", "features set", "migrationDone", "migrated", "unmap 0x1000", "unmap 0x5000",
        "map 0x5000", "memoryChanged", "memory changed", "close", "unmap 0x5000", "closed",
      ])
    context.release()
    withExtendedLifetime(registry) {}
  }

  @Test func aDeviceThatMayBlockHasAThreadOfItsOwn() throws {
    let gate = DispatchSemaphore(value: 0)
    let (registry, context) = try claim(
      MockEngine(devices: 98, device: DeviceContextTests.blocking, gate: gate), device: 97)
    #expect(!threadNames().contains("vdpa-0/97"))
    let answer = Answer<Void>()
    // The call returns although the operation hangs.
    context.configure(setup()) { answer.put($0) }
    #expect(eventually { threadNames().contains("vdpa-0/97") })
    gate.signal()
    #expect(throws: Never.self) { try answer.get().get() }
    context.release()
    #expect(eventually { !threadNames().contains("vdpa-0/97") })
    withExtendedLifetime(registry) {}
  }

  @Test func aDeviceThatNeverBlocksRunsOnTheCallersThread() throws {
    let (registry, context) = try claim(MockEngine(devices: 97), device: 96)
    let caller = Thread.current.description
    let seen = Mutex("")
    context.configure(setup()) { _ in seen.withLock { $0 = Thread.current.description } }
    #expect(seen.withLock { $0 } == caller)
    #expect(!threadNames().contains("vdpa-0/96"))
    context.release()
    withExtendedLifetime(registry) {}
  }

  @Test func anErrorNamesOwnerEngineDeviceAndOperation() throws {
    let (registry, context) = try claim(MockEngine(failing: ["migrationDone"]), device: 1)
    let outcome = result(of: context.migrationDone(completion:))
    let error = #expect(throws: VDPAError.self) { try outcome.get() }
    #expect(error?.code == .operationFailed)
    for part in ["vm0.sock", "engine 0", "device 1", "mock", "migrationDone", "was refused"] {
      #expect(error?.message.contains(part) == true, "\(part)")
    }
    context.release()
    withExtendedLifetime(registry) {}
  }

  @Test func whatIsNotOfferedIsRefusedBeforeTheDeviceSeesIt() throws {
    let journal = Journal()
    let device = DeviceContextTests.attributes {
      $0.iovaRange = 0x1000...0x5fff
      $0.startsAnywhere = false
    }
    let (registry, context) = try claim(MockEngine(journal: journal, device: device, hasMap: true))
    let cases: [(DeviceSetup, String)] = [
      (setup(features: [.version1, .netMAC]), "VIRTIO_NET_F_MAC (5)"),
      (setup(vrings: [vring(2)]), "no vring 2"),
      (setup(vrings: [vring(-1)]), "no vring -1"),
      (setup(vrings: [vring(0, size: 512)]), "512 descriptors"),
      (setup(vrings: [vring(0, start: 3)]), "start at 3"),
      // The beginning of a packed ring is none of a split one.
      (setup(vrings: [vring(0, start: 0x8000)]), "start at 32768"),
      (setup(memory: try pages(at: [0])), "0x0"),
      (setup(memory: try pages(at: [0x5000, 0x6000])), "0x6000"),
    ]
    for (setup, part) in cases {
      let outcome = result(of: { context.configure(setup, completion: $0) })
      let error = #expect(throws: VDPAError.self) { try outcome.get() }
      #expect(error?.message.contains(part) == true, "\(error?.message ?? "")")
    }
    let late = result(of: { context.setVring(DeviceSetup.Vring(vring(9), isEnabled: true), completion: $0) })
    #expect(throws: VDPAError.self) { try late.get() }
    #expect(journal.all == ["open 0 for vm0.sock"])
    let reachable = try pages(at: [0x1000, 0x5000])
    let good = result(of: { context.configure(setup(memory: reachable), completion: $0) })
    #expect(throws: Never.self) { try good.get() }
    context.release()
    withExtendedLifetime(registry) {}
  }

  @Test(arguments: ["map 0x5000", "configure"]) func aFailedConfigurationIsUnmapped(
    failing: String
  ) throws {
    let journal = Journal()
    let (registry, context) = try claim(MockEngine(journal: journal, hasMap: true, failing: [failing]))
    let memory = try pages(at: [0x1000, 0x5000])
    let outcome = result(of: { context.configure(setup(memory: memory), completion: $0) })
    #expect(throws: VDPAError.self) { try outcome.get() }
    #expect(journal.all.contains("unmap 0x1000"))
    #expect(journal.all.contains("unmap 0x5000") == (failing != "map 0x5000"))
    // It is not configured, so there is nothing to close.
    #expect(try result(of: context.close(completion:)).get() == [])
    #expect(!journal.all.contains("close"))
    context.release()
    withExtendedLifetime(registry) {}
  }

  /// Only what it is asked to close tells where its vrings stand, so that is left to whoever wants to know.
  @Test func afterAFailedMemoryChangeTheDeviceIsClosed() throws {
    let journal = Journal()
    let (registry, context) = try claim(MockEngine(journal: journal, hasMap: true, failing: ["memoryChanged"]))
    let (memory, other) = (try pages(at: [0x1000]), try pages(at: [0x3000]))
    try result(of: { context.configure(setup(memory: memory), completion: $0) }).get()
    let outcome = result(of: { context.changeMemory(to: other, completion: $0) })
    #expect(throws: VDPAError.self) { try outcome.get() }
    #expect(journal.all.suffix(2) == ["map 0x3000", "memoryChanged"])
    let again = result(of: { context.configure(setup(memory: memory), completion: $0) })
    #expect(throws: VDPAError.self) { try again.get() }
    #expect(try result(of: context.close(completion:)).get() == [VringState(index: 0, nextAvail: 7, nextUsed: 5)])
    #expect(journal.all.suffix(3) == ["close", "unmap 0x1000", "unmap 0x3000"])
    context.release()
    withExtendedLifetime(registry) {}
  }

  /// It may still use guest memory, so nobody else gets the device, and nothing of the memory is taken away, unless that cuts
  /// the device off.
  @Test(arguments: [false, true]) func aDeviceThatCannotBeClosed(hasMap: Bool) throws {
    let journal = Journal()
    let (registry, context) = try claim(MockEngine(journal: journal, hasMap: hasMap, failing: ["close"]))
    let memory = try pages(at: [0x1000])
    try result(of: { context.configure(setup(memory: memory), completion: $0) }).get()
    let outcome = result(of: context.close(completion:))
    if hasMap {
      #expect(try outcome.get() == [])
    } else {
      #expect(#expect(throws: VDPAError.self) { try outcome.get() }?.code == .stuck)
    }
    #expect(journal.all.contains("unmap 0x1000") == hasMap)
    let again = result(of: { context.configure(setup(memory: memory), completion: $0) })
    #expect(#expect(throws: VDPAError.self) { try again.get() }?.code == .stuck)
    context.release()
    #expect(throws: VDPAError.self) { try registry.removeEngine(try registry.engine(id: 0)) }
  }

  @Test(arguments: [false, true]) func releaseClosesAndLaterOperationsFail(blocking: Bool) throws {
    let journal = Journal()
    let device = blocking ? DeviceContextTests.blocking : MockEngine.netDevice
    let (registry, context) = try claim(MockEngine(journal: journal, device: device, hasMap: true))
    let memory = try pages(at: [0x1000])
    try result(of: { context.configure(setup(memory: memory), completion: $0) }).get()
    context.release()
    #expect(eventually { journal.all.suffix(3) == ["close", "unmap 0x1000", "gone"] })
    let outcome = result(of: context.migrationDone(completion:))
    let error = #expect(throws: VDPAError.self) { try outcome.get() }
    #expect(error?.message.contains("given back") == true)
    #expect(!journal.all.contains("migrationDone"))
    withExtendedLifetime(registry) {}
  }
}
