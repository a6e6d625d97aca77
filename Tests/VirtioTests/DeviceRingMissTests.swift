import Testing

@testable import Virtio

/// Rings behind an IOMMU that meet an address of which they know no translation: nothing is taken, nothing is lost, and
/// they go on as soon as it is there.
@Suite struct DeviceRingMissTests {
  private static let base: UInt64 = 0x1_0000
  private static let page: UInt64 = 4096
  private static let pages: UInt64 = 16
  private static let features: Features = [.version1, .indirectDescriptors, .accessPlatform]
  static let rings = [RingCase(format: .split, size: 8), RingCase(format: .packed, size: 8)]

  /// A guest of which every page is translated to itself, but for some.
  private struct World {
    let memory: TestMemory
    let raw: RawRing
    var driver: RawDriver
    var device: DeviceRing
    private(set) var seen: GuestMemory

    init(_ ring: RingCase, features: Features = DeviceRingMissTests.features) throws {
      memory = try TestMemory([.init(start: base, size: pages * page)])
      raw = RawRing.fresh(memory, ring, start: ring.start)
      driver = RawDriver(raw)
      seen = try memory.guest.behindIOMMU(true).translating(base, size: page, to: base, in: .guest, for: .readWrite)
      device = DeviceRing(
        try raw.area(seen.addressMap.view), features: features, nextAvail: ring.start, nextUsed: ring.start)
    }

    var view: MemoryView { seen.addressMap.view }

    /// The page at an address is translated from now on, and the ring hears of it.
    mutating func translate(_ address: UInt64, for access: AddressMap.Access = .readWrite) throws {
      let start = address & ~(page - 1)
      seen = try seen.translating(start, size: page, to: start, in: .guest, for: access)
      device.move(to: try raw.area(view))
    }

    /// The address of a page, the ring's own being 0.
    func at(_ number: UInt64, _ offset: UInt64 = 0) -> UInt64 { base + number * page + offset }
  }

  /// Tries until it succeeds: each miss is answered, in its turn.
  ///
  /// - Returns: What was missed.
  private func serve(
    _ world: inout World, _ attempt: (inout World) throws -> Bool
  ) throws -> [AddressMap.Miss] {
    var misses: [AddressMap.Miss] = []
    let image = world.memory.copy()
    let position = (world.device.nextAvail, world.device.nextUsed)
    while misses.count < 20 {
      if try attempt(&world) { return misses }
      let miss = try #require(world.device.miss)
      misses.append(miss)
      #expect(world.device.fault == .none)
      #expect(world.device.nextAvail == position.0 && world.device.nextUsed == position.1)
      #expect(world.memory.differences(from: image) == [])
      // It is not looked for again before anything has changed.
      let isDone = try attempt(&world)
      let pending = world.device.pending()
      #expect(!isDone && world.device.miss == miss && pending == 0)
      try world.translate(miss.address, for: miss.access)
    }
    return misses
  }

  @Test("A packet from the guest waits for its table, its header and its payload, and then is whole", arguments: rings)
  func fromGuest(_ ring: RingCase) throws {
    var world = try World(ring)
    // The table stands on the border of two pages, and so does the payload.
    let table = world.at(2, Self.page - 24)
    let pieces = [
      RawPiece(address: world.at(4, 0x100), length: 12), RawPiece(address: world.at(5, Self.page - 10), length: 20),
      RawPiece(address: world.at(8), length: 5),
    ]
    world.driver.add(pieces, .indirect(table: table))
    let burst = PacketBurst()
    let misses = try serve(&world) { world in
      world.device.dequeueBurst(into: burst, limit: 4, memory: world.view, headerLength: 12) == 1
    }
    #expect(misses.map { ($0.address - Self.base) / Self.page }.sorted() == [2, 3, 4, 5, 6, 8])
    #expect(misses.first?.address == table && misses.contains { $0.address == world.at(6) })
    #expect(misses.allSatisfy { $0.access == .read })
    #expect(burst.count == 1)
    #expect(burst.bytes(0) == pieces.flatMap { world.memory.read($0.address, Int($0.length)) })
    world.device.complete(burst, first: 0, count: 1)
    #expect(world.driver.collect()?.chain.pieces == pieces)
  }

  @Test("A packet to the guest is in no buffer before all of its buffers are translated", arguments: rings)
  func toGuest(_ ring: RingCase) throws {
    var world = try World(ring)
    for i in 1...3 as ClosedRange<UInt64> {
      world.driver.add([RawPiece(address: world.at(2 * i, Self.page - 20), length: 40, isWritable: true)])
    }
    let burst = PacketBurst()
    let payload = (0..<90).map { UInt8($0) }
    #expect(burst.append(payload, headerLength: 12))
    let misses = try serve(&world) { world in
      world.device.enqueueBurst(from: burst, first: 0, memory: world.view, headerLength: 12, mergeable: true) == 1
    }
    // The last one is touched as far as the packet goes, and that is into its second page.
    #expect(
      misses.map(\.address)
        == [
          world.at(2, Self.page - 20), world.at(3), world.at(4, Self.page - 20), world.at(5),
          world.at(6, Self.page - 20), world.at(7),
        ])
    #expect(misses.allSatisfy { $0.access == .write })
    var received: [UInt8] = []
    while let (chain, length, _) = world.driver.collect() {
      received += world.memory.read(chain.pieces[0].address, Int(length))
    }
    #expect(Array(received.dropFirst(12)) == payload)
  }

  @Test("What a packet does not need is not asked for", arguments: rings)
  func onlyWhatIsNeeded(_ ring: RingCase) throws {
    var world = try World(ring)
    world.driver.add([RawPiece(address: world.at(2, Self.page - 100), length: 4000, isWritable: true)])
    let burst = PacketBurst()
    #expect(burst.append([1, 2, 3], headerLength: 12))
    let misses = try serve(&world) { world in
      world.device.enqueueBurst(from: burst, first: 0, memory: world.view, headerLength: 12, mergeable: false) == 1
    }
    #expect(misses.map(\.address) == [world.at(2, Self.page - 100)])
  }

  @Test("A chain of a device waits for all of its buffers", arguments: rings)
  func chains(_ ring: RingCase) throws {
    var world = try World(ring)
    let pieces = [
      RawPiece(address: world.at(2), length: 16), RawPiece(address: world.at(3), length: 0),
      RawPiece(address: world.at(4), length: 512, isWritable: true),
      RawPiece(address: world.at(6), length: 1, isWritable: true),
    ]
    world.driver.add(pieces)
    let segments = SegmentList()
    var found: DeviceRing.Chain?
    let misses = try serve(&world) { world in
      found = world.device.fetchChain(into: segments, memory: world.view, outstanding: 0)
      return found != nil
    }
    #expect(misses.map(\.address) == [world.at(2), world.at(4), world.at(6)])
    #expect(misses.map(\.access) == [.read, .write, .write])
    #expect(found?.readable == 16 && found?.writable == 513 && segments.count == 3)
  }

  @Test("A permission that is lacking is a miss for that permission", arguments: rings)
  func permission(_ ring: RingCase) throws {
    var world = try World(ring)
    try world.translate(world.at(2), for: .read)
    world.driver.add([RawPiece(address: world.at(2), length: 64, isWritable: true)])
    let burst = PacketBurst()
    #expect(burst.append([1, 2, 3], headerLength: 12))
    let misses = try serve(&world) { world in
      world.device.enqueueBurst(from: burst, first: 0, memory: world.view, headerLength: 12, mergeable: false) == 1
    }
    #expect(misses == [AddressMap.Miss(address: world.at(2), access: .write)])
  }

  @Test("Packets in front of the one that waits are taken, and those behind it come after it", arguments: rings)
  func others(_ ring: RingCase) throws {
    var world = try World(ring)
    try world.translate(world.at(2))
    for page in [2, 2, 5, 2] as [UInt64] { world.driver.add([RawPiece(address: world.at(page), length: 20)]) }
    let burst = PacketBurst()
    #expect(world.device.dequeueBurst(into: burst, limit: 8, memory: world.view, headerLength: 12) == 2)
    #expect(world.device.miss == AddressMap.Miss(address: world.at(5), access: .read))
    world.device.complete(burst, first: 0, count: 2)
    try world.translate(world.at(5))
    #expect(world.device.dequeueBurst(into: burst, limit: 8, memory: world.view, headerLength: 12) == 2)
    #expect(
      burst.bytes(2) == world.memory.read(world.at(5), 20) && burst.bytes(3) == world.memory.read(world.at(2), 20))
    world.device.complete(burst, first: 2, count: 2)
    var back = 0
    while world.driver.collect() != nil { back += 1 }
    #expect(back == 4)
  }

  @Test("Without an IOMMU, and for anything else that is wrong, the ring is broken as ever", arguments: rings)
  func faults(_ ring: RingCase) throws {
    var plain = try World(ring, features: [.version1])
    plain.driver.add([RawPiece(address: plain.at(5), length: 20)])
    let burst = PacketBurst()
    #expect(plain.device.dequeueBurst(into: burst, limit: 8, memory: plain.view, headerLength: 12) == 0)
    #expect(plain.device.fault == .unmapped && plain.device.miss == nil)
    var world = try World(ring)
    try world.translate(world.at(2))
    world.driver.add([RawPiece(address: world.at(2), length: 3)])
    #expect(world.device.dequeueBurst(into: burst, limit: 8, memory: world.view, headerLength: 12) == 0)
    #expect(world.device.fault == .shortBuffer && world.device.miss == nil)
  }
}
