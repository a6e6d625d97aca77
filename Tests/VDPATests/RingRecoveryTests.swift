import Testing
import VDPA
import Virtio

/// Where a ring stands of which only guest memory tells.
struct RingRecoveryTests {
  private static func write(_ value: UInt16, at address: UInt64, in memory: GuestMemory) throws {
    var view = memory.addressMap.view
    let place = unsafe try #require(unsafe view.contiguous(at: address, length: 2, for: .write))
    unsafe place.storeBytes(of: value, as: UInt16.self)
  }

  private static func position(
    used: UInt16, avail: UInt16, size: Int = 256, features: Features = [.version1], isInOrder: Bool = true
  ) throws -> RingRecovery.Position {
    let memory = try pages(at: [0x1000, 0x2000, 0x3000])
    try write(avail, at: 0x2002, in: memory)
    try write(used, at: 0x3002, in: memory)
    let vring = VringDescription(
      index: 3, size: size, descriptor: 0x1000, avail: 0x2000, used: 0x3000,
      state: VringState(index: 3, nextAvail: 9, nextUsed: 9))
    return try RingRecovery.position(of: vring, features: features, completesInOrder: isInOrder, in: memory)
  }

  @Test("A split ring goes on behind what was returned, also where indices begin anew")
  func split() throws {
    #expect(try Self.position(used: 40, avail: 40).repeated == 0)
    let position = try Self.position(used: 65530, avail: 20)
    #expect(position.state == VringState(index: 3, nextAvail: 65530, nextUsed: 65530) && position.repeated == 26)
  }

  @Test("Of other rings nobody can tell, and it is said why")
  func lost() throws {
    let packed = try #require(throws: VDPAError.self) {
      try Self.position(used: 0, avail: 0, features: [.version1, .packedRing])
    }
    #expect(packed.code == .unrecoverable && packed.description.contains("packed ring"))
    let disordered = try #require(throws: VDPAError.self) {
      try Self.position(used: 0, avail: 0, isInOrder: false)
    }
    #expect(disordered.description.contains("any order"))
    let nonsense = try #require(throws: VDPAError.self) { try Self.position(used: 20, avail: 19) }
    #expect(nonsense.description.contains("contradict"))
  }

  @Test("What a device says counts; of the rest what can be found")
  func partly() throws {
    let memory = try pages(at: [0x1000, 0x2000, 0x3000])
    try Self.write(5, at: 0x2002, in: memory)
    try Self.write(3, at: 0x3002, in: memory)
    let vrings = (0..<2).map { index in
      DeviceSetup.Vring(
        VringDescription(
          index: index, size: 256, descriptor: 0x1000, avail: 0x2000, used: 0x3000,
          state: VringState(index: index, nextAvail: 0, nextUsed: 0)), isEnabled: true)
    }
    let said = [VringState(index: 0, nextAvail: 5, nextUsed: 4)]
    let setup = DeviceSetup(features: [.version1], memory: memory, vrings: vrings, observer: SilentObserver())
    let rings = StoppedRings(of: setup, said: said, completesInOrder: true)
    #expect(rings.states == said + [VringState(index: 1, nextAvail: 3, nextUsed: 3)])
    #expect(rings.repeated.map(\.index) == [1] && rings.repeated.map(\.value) == [2] && rings.lost.isEmpty)
    let lost = StoppedRings(of: setup, said: said, completesInOrder: false)
    #expect(lost.states == said && lost.lost.map(\.index) == [1])
    #expect(setup.at(lost).vrings.map(\.description.index) == [0])
  }
}
