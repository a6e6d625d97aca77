import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A device that answers with the bytes it was sent, turned around.
private struct Reverser: SoftwareDevice {
  let type = DeviceType.entropy
  let configuration: [UInt8] = [1, 2, 3]
  func process(_ chain: consuming Chain, queue: Int) {
    guard let bytes = chain.read(at: 0, count: chain.readableBytes) else { return }
    chain.write(Array(bytes.reversed().prefix(chain.writableBytes)), at: 0)
  }
}

/// A device that counts its chains, and takes the count along.
private final class Counter: SoftwareDevice, StateTransfer {
  private struct Refusal: Error {}

  let type = DeviceType.entropy
  private let count = Mutex<UInt8>(0)
  var stateTransfer: (any StateTransfer & Sendable)? { self }

  func process(_ chain: consuming Chain, queue: Int) {
    chain.write(
      [
        count.withLock { count in
          count += 1
          return count
        }
      ], at: 0)
  }
  func saveState() throws -> [UInt8] { [count.withLock { $0 }] }
  func loadState(_ bytes: [UInt8]) throws {
    guard bytes.count == 1 else { throw Refusal() }
    count.withLock { $0 = bytes[0] }
  }
}

@Suite struct SoftwareDeviceTests {
  static let formats: [Features] = [
    [.version1, .indirectDescriptors], [.version1, .packedRing, .indirectDescriptors],
    [.version1, .indirectDescriptors, .eventIndex], [.version1, .packedRing, .indirectDescriptors, .eventIndex],
    [.version1, .packedRing, .indirectDescriptors, .inOrder], [.version1, .indirectDescriptors, .inOrder],
  ]

  @Test(
    "Chains of every cut come back with what the device wrote", arguments: formats,
    [.event, .poll] as [WorkerConfiguration.Mode])
  func everyCut(features: Features, mode: WorkerConfiguration.Mode) throws {
    let guest = try ChainGuest(Reverser(), features: features, mode: mode)
    defer { guest.end() }
    for lap in 0..<5 {
      for isIndirect in [false, true] {
        for (cut, readable, writable) in [(1, 3, 3), (2, 4, 2), (.max, 7, 9), (3, 0, 5), (3, 5, 0), (4, 6, 3)] {
          let bytes = (0..<readable).map { UInt8($0 + lap) }
          let id = try #require(guest.post(bytes, room: writable, isIndirect: isIndirect, cut: cut))
          guest.kick()
          let back = try guest.collect(1)
          #expect(back.map(\.id) == [id])
          #expect(back.first?.written == Array(bytes.reversed().prefix(writable)))
        }
      }
    }
    #expect(guest.device.capabilities.statistics?.vrings.first?.packets == 60)
  }

  @Test("The framework offers the features of rings, the device its configuration space")
  func attributes() throws {
    let guest = try ChainGuest(Reverser(), features: [.version1])
    defer { guest.end() }
    let attributes = guest.device.attributes
    #expect(attributes.features.isSuperset(of: [.packedRing, .indirectDescriptors, .eventIndex, .inOrder, .version1]))
    #expect(attributes.protocolFeatures.contains(.configuration) && attributes.vringCount == 1)
    // QEMU would accept it, and never say DRIVER_OK.
    #expect(!attributes.protocolFeatures.contains(.status))
    #expect(guest.device.capabilities.configuration?.bytes == [1, 2, 3])
  }

  @Test("A device with a state of its own offers to move it, and goes on with one that was moved; others offer nothing")
  func state() throws {
    let source = try ChainGuest(Counter(), features: [.version1])
    let target = try ChainGuest(Counter(), features: [.version1])
    let other = try ChainGuest(Reverser(), features: [.version1])
    defer { for guest in [source, target, other] { guest.end() } }
    #expect(source.device.attributes.protocolFeatures.contains(.deviceState))
    #expect(!other.device.attributes.protocolFeatures.contains(.deviceState))
    #expect(other.device.capabilities.stateTransfer == nil)
    func next(_ guest: ChainGuest) throws -> [UInt8] {
      _ = try #require(guest.post([], room: 1))
      guest.kick()
      return try #require(try guest.collect(1).first).written
    }
    for i in UInt8(1)...3 { #expect(try next(source) == [i]) }
    let saved = try #require(source.device.capabilities.stateTransfer).saveState()
    try #require(target.device.capabilities.stateTransfer).loadState(saved)
    #expect(try next(target) == [4])
    #expect(throws: (any Error).self) { try target.device.capabilities.stateTransfer?.loadState([]) }
    #expect(try next(target) == [5])
  }

  @Test(
    "Chains that are kept come back in the order in which the device lets go of them, or in the ring's own",
    arguments: formats)
  func anyOrder(features: Features) throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: features)
    defer { guest.end() }
    for _ in 0..<4 {
      let ids = try (0..<5).map { try #require(guest.post([UInt8($0)], room: 1, isIndirect: $0 % 2 == 1)) }
      guest.kick()
      try #require(keeper.wait(for: 5))
      #expect(guest.drivers[0].outstanding == 5)
      keeper.finishAll()
      let back = try guest.collect(5)
      let isInOrder = features.contains(.inOrder)
      #expect(back.map(\.id) == (isInOrder ? ids : ids.reversed()))
      #expect(back.map(\.written) == (isInOrder ? [[4], [3], [2], [1], [0]] : [[0], [1], [2], [3], [4]]))
    }
  }

  @Test("A ring stops when its chains are back, and goes on from there", arguments: formats)
  func drains(features: Features) throws {
    let keeper = KeepingDevice(queueCount: 2)
    let guest = try ChainGuest(keeper, features: features)
    defer { guest.end() }
    for ring in 0..<2 {
      for _ in 0..<3 { guest.post([1], room: 1, ring: ring) }
      guest.kick(ring: ring)
    }
    try #require(keeper.wait(for: 6))
    let stopped = FutexWord()
    let helper = try PinnedThread(name: "finish", cpus: []) {
      usleep(20_000)
      keeper.finishAll()
      stopped.signal()
    }
    let state = try #require(try guest.device.capabilities.vringControl?.stopVring(0))
    helper.join()
    let start: UInt16 = features.contains(.packedRing) ? 0x8000 : 0
    #expect(
      state
        == VringState(
          index: 0, nextAvail: start &+ (features.contains(.packedRing) ? 6 : 3),
          nextUsed: start &+ (features.contains(.packedRing) ? 6 : 3)))
    #expect(try guest.collect(3).count == 3 && guest.collect(3, ring: 1).count == 3)
    #expect(keeper.starts.load(ordering: .relaxed) == 2 && keeper.stops.load(ordering: .relaxed) == 1)

    // While it is stopped nothing is fetched from it; started again it goes on.
    guest.post([1], room: 1)
    guest.kick()
    guest.post([1], room: 1, ring: 1)
    guest.kick(ring: 1)
    try #require(keeper.wait(for: 1))
    var again = guest.rings[0]
    again.state = state
    try guest.device.setVring(again, enabled: true)
    try #require(keeper.wait(for: 2))
    keeper.finishAll()
    #expect(try guest.collect(1).count == 1 && guest.collect(1, ring: 1).count == 1)
  }

  @Test("Memory changes when all chains are back, and the rings go on in the new memory", arguments: formats)
  func memoryChange(features: Features) throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: features)
    defer { guest.end() }
    for _ in 0..<3 { guest.post([1], room: 1) }
    guest.kick()
    try #require(keeper.wait(for: 3))
    let helper = try PinnedThread(name: "finish", cpus: []) {
      usleep(20_000)
      keeper.finishAll()
    }
    weak let old = guest.memory
    try guest.replaceMemory()
    helper.join()
    #expect(old == nil, "nobody holds the old memory any more")
    #expect(try guest.collect(3).count == 3)
    guest.post([1], room: 1)
    guest.kick()
    try #require(keeper.wait(for: 1))
    keeper.finishAll()
    #expect(try guest.collect(1).count == 1)
  }

  @Test("Heads that share a long table get so much memory and no more; the others wait their turn", arguments: formats)
  func sharedTable(features: Features) throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: features, ringSize: 256)
    defer { guest.end() }
    let length = 1024
    try guest.postSharedTable(heads: 256, length: length)
    // What is fetched stops growing, long before all have been.
    let most = 65_536 / length
    try #require(keeper.wait(for: most))
    usleep(50_000)
    #expect(keeper.count == most)
    var returned: UInt64 { guest.device.capabilities.statistics?.vrings.first?.packets ?? 0 }
    for _ in 0..<5000 where returned < 256 {
      keeper.finishAll()
      usleep(2000)
    }
    #expect(returned == 256 && guest.reports.all.isEmpty)
  }

  @Test("A disabled ring is left alone, and served when it is enabled", arguments: formats)
  func disabled(features: Features) throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: features)
    defer { guest.end() }
    try guest.device.setVring(guest.rings[0], enabled: false)
    guest.post([1], room: 1)
    guest.kick()
    usleep(20_000)
    #expect(keeper.count == 0)
    try guest.device.setVring(guest.rings[0], enabled: true)
    try #require(keeper.wait(for: 1))
    keeper.finishAll()
    #expect(try guest.collect(1).count == 1)
  }

  @Test(
    "A chain longer than what the driver can still have breaks the ring; what is under way is finished",
    arguments: formats)
  func tooMany(features: Features) throws {
    let keeper = KeepingDevice(queueCount: 2)
    let guest = try ChainGuest(keeper, features: features)
    defer { guest.end() }
    for _ in 0..<3 { guest.post([1], room: 1) }
    guest.kick()
    try #require(keeper.wait(for: 3))
    // A second driver on the same ring, which does not know of what the first one has given away.
    switch guest.drivers[0].memory {
    case .split(let area):
      for i in 3..<12 as Range<UInt16> { area.setHead(at: i, 0) }
      area.publishAvailIndex(8)
    case .packed(let area):
      var position = area.advance(RingLayout.packedStart, by: 6)
      for _ in 0..<3 {
        area.setAvailable(position, RingDescriptor(address: 0x18000, length: 1, flags: 0), isFirst: false)
        position = area.advance(position, by: 1)
      }
    }
    if let kick = guest.rings[0].kick { EventFD.signal(kick) }
    for _ in 0..<4000 where guest.reports.all.isEmpty { usleep(500) }
    #expect(guest.reports.all == [.vringBroken(index: 0, reason: RingFault.chainLoop.description)])
    let kept = keeper.count
    keeper.finishAll()
    let stopped = try guest.device.capabilities.vringControl?.stopVring(0)
    #expect(stopped != nil && kept <= guest.size)
    // The other one goes on.
    guest.post([1], room: 1, ring: 1)
    guest.kick(ring: 1)
    try #require(keeper.wait(for: 1))
    keeper.finishAll()
    #expect(try guest.collect(1, ring: 1).count == 1)
  }
}
