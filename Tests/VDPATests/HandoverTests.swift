import Testing
import VDPA
import Virtio

/// The steps of a hand-over, what undoes them, and what is refused before anything has stopped (design §4.1).
struct HandoverTests {
  private struct World {
    let registry: Registry
    let old: DeviceContext
    let new: DeviceContext
    let journal: Journal
    let memory: GuestMemory

    /// - Parameters:
    ///   - failing: Operations of the new device that fail.
    ///   - oldFailing: Operations of the old one that fail.
    ///   - oldHasMap: Whether that is cut off from memory by unmapping.
    init(
      failing: Set<String> = [], oldFailing: Set<String> = [], oldHasMap: Bool = true,
      _ change: (inout DeviceAttributes) -> Void = { _ in }
    ) throws {
      let registry = Registry(software: MockEngine(devices: 0))
      let journal = Journal()
      func claim(
        _ name: String, _ attributes: DeviceAttributes, _ failing: Set<String>, hasMap: Bool = true
      ) throws -> DeviceContext {
        try registry.register(
          MockDriver(
            name: name,
            engine: MockEngine(journal: journal, device: attributes, hasMap: hasMap, failing: failing, name: name)))
        let engine = try registry.addEngine(driver: name, at: EngineAddress("x"))
        return try registry.claim(DeviceHandle(engine: engine, device: 0), type: attributes.type, owner: "vm0.sock")
      }
      var attributes = MockEngine.netDevice
      old = try claim("old", attributes, oldFailing, hasMap: oldHasMap)
      change(&attributes)
      new = try claim("new", attributes, failing)
      memory = try pages(at: [0x1000])
      (self.registry, self.journal) = (registry, journal)
      try result { old.configure(setup, completion: $0) }.get()
    }

    var setup: DeviceSetup {
      let vring = VringDescription(
        index: 0, size: 256, descriptor: 0, avail: 0, used: 0, state: VringState(index: 0, nextAvail: 3, nextUsed: 3))
      return DeviceSetup(
        features: [.version1], memory: memory, vrings: [DeviceSetup.Vring(vring, isEnabled: true)],
        observer: SilentObserver())
    }

    /// Hands over; returns what the two devices were told meanwhile, too.
    func handOver() throws -> (outcome: Handover.Outcome, told: [String]) {
      let before = journal.all.count
      let handover = Handover(of: setup, observer: SilentObserver(), from: old, to: new)
      let outcome = try result { (completion: @escaping DeviceContext.Completion<Handover.Outcome>) in
        handover.run { completion(.success($0)) }
      }.get()
      return (outcome, Array(journal.all.dropFirst(before)))
    }
  }

  private static let stop = VringState(index: 0, nextAvail: 7, nextUsed: 5)
  private static let prepared = ["new: map 0x1000", "new: setFeatures"]
  private static let stopped = ["old: close", "old: unmap 0x1000"]

  @Test("The new device is prepared before the old one stops, and begins where that has stopped")
  func moved() throws {
    let world = try World()
    let (outcome, told) = try world.handOver()
    guard case .moved(let rings) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(rings.states == [Self.stop])
    #expect(told == Self.prepared + Self.stopped + ["new: configure at 7"])
  }

  @Test("A new device that fails is undone: the old one goes on where it has stopped")
  func undone() throws {
    let world = try World(failing: ["configure"])
    let (outcome, told) = try world.handOver()
    guard case .undone(let error, let rings) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(rings.states == [Self.stop] && error.description.contains("configure was refused"))
    #expect(
      told == Self.prepared + Self.stopped + [
        "new: configure at 7", "new: unmap 0x1000", "old: map 0x1000", "old: configure at 7",
      ])
  }

  @Test("A new device that has served for a while before it failed is undone from where it got to")
  func undoneLate() throws {
    let world = try World(failing: ["configure late"])
    let (outcome, told) = try world.handOver()
    guard case .undone(let error, let rings) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(
      rings.states == [VringState(index: 0, nextAvail: 9, nextUsed: 9)] && error.description.contains("it fell over"))
    #expect(told.last == "old: configure at 9")
  }

  @Test("If the old one cannot go on either, both reasons are told and the positions are kept")
  func bothFail() throws {
    let world = try World(failing: ["configure"], oldFailing: ["configure at 7"])
    let (outcome, _) = try world.handOver()
    guard case .stopped(let error, let rings) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(rings.states == [Self.stop])
    #expect(error.description.contains("(new)") && error.description.contains("(old)"))
  }

  @Test("An old device that cannot be stopped keeps the rings: nobody else is let at them")
  func stuck() throws {
    let world = try World(oldFailing: ["close"], oldHasMap: false)
    let (outcome, told) = try world.handOver()
    guard case .stuck(let error) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(error.code == .stuck && error.description.contains("close was refused"))
    #expect(told == Self.prepared + ["old: close", "new: unmap 0x1000"])
  }

  @Test("An old device that cannot be stopped is cut off from memory first, where that can be done")
  func fenced() throws {
    let world = try World(oldFailing: ["close"])
    let (outcome, told) = try world.handOver()
    guard case .moved(let rings) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    // It did not say where the ring stands, and its indices are in no memory.
    #expect(rings.states.isEmpty && rings.lost.map(\.index) == [0])
    #expect(told == Self.prepared + Self.stopped + ["new: configure"])
    // Nobody is given the device before it could be closed.
    let refusal = result { world.old.configure(world.setup, completion: $0) }
    guard case .failure(let error) = refusal else {
      Issue.record("\(refusal)")
      return
    }
    #expect(error.code == .stuck)
  }

  @Test("Devices that differ in what the guest's driver can see are told apart by those fields")
  func visibleFields() {
    let (one, other) = (
      NetConfiguration(mac: MACAddress("02:00:00:00:00:01")!),
      NetConfiguration(mac: MACAddress("02:00:00:00:00:02")!, mtu: 9000)
    )
    func differences(_ features: Features) -> [String] {
      VisibleField.differences(one.encoded, other.encoded, of: .net, features: features)
    }
    #expect(differences([.version1]) == [])
    #expect(differences([.netMAC]) == ["mac (02:00:00:00:00:01 and 02:00:00:00:00:02)"])
    #expect(differences([.netMAC, .netMTU]).last == "mtu (0x05dc and 0x2328)")
    // A block device's capacity is always seen; what a space does not have is zero; of other types all bytes count.
    #expect(VisibleField.differences([1], [1, 0, 0], of: .block, features: []) == [])
    #expect(VisibleField.differences([1], [1, 2], of: .block, features: []).count == 1)
    #expect(VisibleField.differences([0, 1], [0, 2], of: .entropy, features: []).count == 1)
  }

  @Test(
    "What the new device lacks is named before anything stops",
    arguments: [
      "features", "size", "start", "type", "map", "setFeatures",
    ])
  func refused(lack: String) throws {
    let world = try World(failing: lack == "map" ? ["map 0x1000"] : [lack]) { attributes in
      switch lack {
      case "features": attributes.features = []
      case "type": attributes.type = .block
      case "size": attributes.maxRingSize = 128
      case "start": attributes.startsAnywhere = false
      default: break
      }
    }
    let (outcome, told) = try world.handOver()
    guard case .refused(let error) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(error.description.contains("(new)"))
    #expect(!told.contains { $0.hasPrefix("old") }, "\(told)")
    // It is as free as before.
    #expect(told.filter { $0.contains("map 0x1000") }.count % 2 == 0 || lack == "map")
  }
}
