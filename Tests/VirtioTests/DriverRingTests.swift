import Testing

@testable import Virtio

@Suite struct SplitDriverRingTests {
  typealias Piece = DriverRing.Piece

  private func ring(_ size: Int) throws -> (TestMemory, RawRing, DriverRing) {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 4096), .init(start: 0x2_0000, size: 4096)])
    let raw = RawRing(memory, at: 0x1_0000, size: size)
    return (memory, raw, DriverRing(try raw.area(), features: []))
  }

  /// Writes a used entry as a device would.
  private func use(_ raw: RawRing, _ position: UInt16, id: UInt32, length: UInt32) {
    raw.memory.write(raw.used + 4 + UInt64(Int(position) % raw.size * 8), bytes(id) + bytes(length))
    raw.memory.write(raw.used + 2, position &+ 1)
  }

  private func fault(_ ring: inout DriverRing) -> DriverRing.DeviceFault? {
    do throws(DriverRing.DeviceFault) {
      _ = try ring.collect()
      return nil
    } catch { return error }
  }

  private let piece = Piece(address: 0x2_0000, length: 16, isWritable: true)

  @Test func startsEmpty() throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 4096)])
    let raw = RawRing(memory, at: 0x1_0000, size: 4)
    memory.fill(seed: 5)
    var image = memory.snapshot()
    let ring = DriverRing(try raw.area(), features: [])
    for at in [raw.avail, raw.used] {
      for i in 0..<4 as Range<UInt64> { image[try #require(memory.offset(at + i))] = 0 }
    }
    #expect(memory.differences(from: image) == [])
    #expect(ring.freeCount == 4 && ring.outstanding == 0)
  }

  @Test func chainsAreWrittenAsTheStandardSays() throws {
    var (memory, raw, ring) = try ring(4)
    let added = ring.add([
      Piece(address: 0x1122_3344_5566_7788, length: 0x99aa_bbcc, isWritable: false),
      Piece(address: 2, length: 3, isWritable: true),
    ])
    let head = try #require(added)
    #expect(memory.value(raw.avail + 2, as: UInt16.self) == 0, "not announced yet")
    let wantsKick = [ring.publish(), ring.publish()]
    #expect(wantsKick == [true, false], "the second has nothing new")
    #expect(memory.value(raw.avail + 2, as: UInt16.self) == 1)
    #expect(memory.value(raw.avail + 4, as: UInt16.self) == head)
    let first = memory.read(raw.descriptors + UInt64(head) * 16, 16)
    let second = UInt16(first[14]) | UInt16(first[15]) << 8
    #expect(
      first == bytes(0x1122_3344_5566_7788 as UInt64) + bytes(0x99aa_bbcc as UInt32) + bytes(1 as UInt16)
        + bytes(second))
    #expect(second != head && second < 4)
    #expect(
      memory.read(raw.descriptors + UInt64(second) * 16, 14) == bytes(2 as UInt64) + bytes(3 as UInt32)
        + bytes(2 as UInt16))
    memory.write(raw.used, UInt16(1))
    _ = ring.add([piece])
    let wantsAnother = ring.publish()
    #expect(!wantsAnother, "the device wants no kicks")
    ring.setWantsCalls(false)
    #expect(memory.value(raw.avail, as: UInt16.self) == 1)
    ring.setWantsCalls(true)
    #expect(memory.value(raw.avail, as: UInt16.self) == 0)
  }

  @Test func faults() throws {
    func after(_ steps: (RawRing, inout DriverRing) throws -> Void) throws -> DriverRing.DeviceFault? {
      var (memory, raw, ring) = try ring(4)
      for _ in 0..<2 { _ = ring.add([Piece(address: 0, length: 8, isWritable: false), piece]) }
      _ = ring.publish()
      try steps(raw, &ring)
      let image = memory.snapshot()
      let free = ring.freeCount
      let found = fault(&ring)
      if found != nil { #expect(ring.freeCount == free && memory.differences(from: image) == []) }
      return found
    }
    #expect(try after { raw, _ in use(raw, 0, id: 0, length: 16) } == nil)
    #expect(try after { raw, _ in use(raw, 0, id: 0, length: 17) } == .tooLong(17))
    #expect(try after { raw, _ in use(raw, 0, id: 0, length: .max) } == .tooLong(.max))
    #expect(try after { raw, _ in use(raw, 0, id: 1, length: 0) } == .unknownHead(1), "in a chain, but no head")
    #expect(try after { raw, _ in use(raw, 0, id: 4, length: 0) } == .unknownHead(4))
    #expect(try after { raw, _ in use(raw, 0, id: 0x1_0000, length: 0) } == .unknownHead(0x1_0000))
    #expect(try after { raw, _ in use(raw, 0, id: .max, length: 0) } == .unknownHead(.max))
    #expect(try after { raw, _ in raw.memory.write(raw.used + 2, UInt16(3)) } == .usedIndex)
    #expect(try after { raw, _ in raw.memory.write(raw.used + 2, UInt16.max) } == .usedIndex)
    #expect(
      try after { raw, ring in
        use(raw, 0, id: 0, length: 1)
        _ = try ring.collect()
        use(raw, 1, id: 0, length: 1)
      } == .unknownHead(0), "returned twice")
  }

  /// What was added but not announced is not the device's to return.
  @Test func unannouncedChains() throws {
    var (_, raw, ring) = try ring(4)
    let firstAdded = ring.add([piece])
    let first = try #require(firstAdded)
    let secondAdded = ring.add([piece])
    let second = try #require(secondAdded)
    use(raw, 0, id: UInt32(first), length: 0)
    let tooEarly = fault(&ring)
    #expect(tooEarly == .usedIndex)
    raw.memory.write(raw.used + 2, UInt16(0))
    _ = ring.publish()
    let thirdAdded = ring.add([piece])
    let third = try #require(thirdAdded)
    use(raw, 0, id: UInt32(third), length: 0)
    let notAnnounced = fault(&ring)
    #expect(notAnnounced == .unknownHead(UInt32(third)))
    use(raw, 0, id: UInt32(second), length: 5)
    let collected = try ring.collect()
    let done = try #require(collected)
    #expect(done.head == second && done.length == 5 && ring.outstanding == 2)
  }

  /// Random chains, returned in any order, over more than all positions: descriptors are neither lost nor given twice.
  @Test(arguments: [1, 2, 8, 32], [1, 2] as [UInt64]) func freeListKeepsEverything(size: Int, seed: UInt64) throws {
    var (_, raw, ring) = try ring(size)
    var random = SplitMix(seed: seed)
    var held: [UInt16: (lengths: Int, writable: UInt32)] = [:]
    var usedPosition: UInt16 = 0
    var collected = 0
    var failed = 0
    while collected < 66_000 && failed == 0 {
      if random.next() % 2 == 0 {
        let pieces = (0..<Int(random.next() % 4)).map { Piece(address: 0, length: UInt32($0 + 1), isWritable: $0 > 0) }
        let before = ring.freeCount
        let head = ring.add(pieces)
        if (head != nil) != (!pieces.isEmpty && pieces.count <= before) { failed += 1 }
        if let head {
          if held[head] != nil { failed += 1 }
          held[head] = (pieces.count, pieces.filter(\.isWritable).reduce(0) { $0 + $1.length })
        }
        _ = ring.publish()
      } else if let (head, chain) = held.randomElement(using: &random) {
        use(raw, usedPosition, id: UInt32(head), length: chain.writable)
        usedPosition &+= 1
        let done = try ring.collect()
        if done?.head != head || done?.length != chain.writable { failed += 1 }
        held[head] = nil
        collected += 1
      }
      if ring.freeCount + held.values.reduce(0, { $0 + $1.lengths }) != size || ring.outstanding != held.count {
        failed += 1
      }
    }
    #expect(failed == 0 && collected == 66_000)
    // Everything comes back, and every descriptor can be given once more.
    for (head, _) in held {
      use(raw, usedPosition, id: UInt32(head), length: 0)
      usedPosition &+= 1
      _ = try ring.collect()
    }
    #expect(ring.freeCount == size && ring.outstanding == 0)
    let heads = (0..<size).compactMap { _ in ring.add([piece]) }
    let another = ring.add([piece])
    #expect(Set(heads).count == size && another == nil)
  }

  /// Driver side and device side on the same memory, through all positions and around.
  @Test func driverAndDeviceTogether() throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 4096), .init(start: 0x2_0000, size: 4096)])
    let transmit = RawRing(memory, at: 0x1_0000, size: 8)
    let receive = RawRing(memory, at: 0x1_0800, size: 8)
    var tx = DriverRing(try transmit.area(), features: [])
    var rx = DriverRing(try receive.area(), features: [])
    var source = try transmit.device()
    var sink = try receive.device()
    let burst = PacketBurst()
    var failed = 0
    for round in 0..<9000 where failed == 0 {
      memory.write(0x2_000c, UInt64(round))
      for _ in 0..<8 {
        _ = tx.add([Piece(address: 0x2_0000, length: 20, isWritable: false)])
        _ = rx.add([Piece(address: 0x2_0100, length: 64, isWritable: true)])
      }
      if !tx.publish() || !rx.publish() { failed += 1 }
      burst.clear()
      let taken = source.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
      let sent = sink.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true)
      source.complete(burst, first: 0, count: taken)
      if taken != 8 || sent != 8 { failed += 1 }
      for _ in 0..<8 {
        if try tx.collect()?.length != 0 { failed += 1 }
        if try rx.collect()?.length != 20 { failed += 1 }
      }
      if memory.value(0x2_010c, as: UInt64.self) != UInt64(round) { failed += 1 }
    }
    #expect(failed == 0 && source.nextAvail == UInt16(truncatingIfNeeded: 72000))
    let more = try tx.collect()
    #expect(more == nil && tx.freeCount == 8)
  }
}
