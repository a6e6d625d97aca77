import Testing

@testable import Virtio

/// Lengths of chains and packets at their limits.
@Suite struct DeviceRingLengthTests {
  private static let formats = RingLayout.Format.allCases
  private static let buffer = SmallMemory.buffers

  /// A ring at its beginning, with a driver.
  private func ring(
    _ memory: TestMemory, _ format: RingLayout.Format, size: Int, at address: UInt64 = 0x1_0000
  ) -> (RawRing, RawDriver) {
    let ring = RingCase(format: format, size: size)
    let raw = RawRing.fresh(memory, ring, at: address, start: ring.start)
    return (raw, RawDriver(raw))
  }

  /// An empty descriptor touches nothing, so its address does not matter, however many there are (CVE-2020-10725).
  @Test(arguments: formats, [0, 0x5000, UInt64.max])
  func emptyDescriptorsAnywhere(_ format: RingLayout.Format, address: UInt64) throws {
    let memory = try TestMemory(SmallMemory.places)
    let burst = PacketBurst()
    var (raw, driver) = ring(memory, format, size: 8)
    let empty = RawPiece(address: address, length: 0)
    driver.add([empty, empty, empty, empty, RawPiece(address: Self.buffer, length: 13), empty])
    var device = try raw.device(memory)
    #expect(device.dequeueBurst(into: burst, limit: 1, memory: memory.view, headerLength: 12) == 1)
    #expect(device.fault == .none && burst[0].length == 13)

    burst.clear()
    #expect(burst.append([1, 2], headerLength: 12))
    (raw, driver) = ring(memory, format, size: 8)
    let hole = RawPiece(address: address, length: 0, isWritable: true)
    let pieces = [
      RawPiece(address: Self.buffer, length: 13, isWritable: true),
      RawPiece(address: Self.buffer + 13, length: 1, isWritable: true),
    ]
    var chain = driver.add([hole, hole, pieces[0], hole, hole, pieces[1]])
    chain.pieces = pieces
    var model = RingModel(raw, chains: [chain], image: memory.copy())
    device = try raw.device(memory)
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: false) == 1)
    let outcome = model.send([1, 2], headerLength: 12, mergeable: false)
    #expect(outcome == .delivered && memory.differences(from: model.image) == [])

    // Nothing but empty ones is no packet, and no buffer for one.
    for isWritable in [true, false] {
      (raw, driver) = ring(memory, format, size: 8)
      for _ in 0..<2 { driver.add(Array(repeating: isWritable ? hole : empty, count: 4)) }
      let image = memory.copy()
      device = try raw.device(memory)
      if isWritable {
        #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 0)
      } else {
        burst.clear()
        #expect(device.dequeueBurst(into: burst, limit: 1, memory: memory.view, headerLength: 12) == 0)
      }
      #expect(device.fault == .shortBuffer && memory.differences(from: image) == [])
    }
  }

  /// A header in twelve pieces, one byte more, and not enough (CVE-2022-2132).
  @Test(arguments: formats, [false, true]) func oneByteDescriptors(_ format: RingLayout.Format, isIndirect: Bool) throws
  {
    let memory = try TestMemory(SmallMemory.places)
    let form: RawDriver.Form = isIndirect ? .indirect(table: SmallMemory.tables) : .direct
    let burst = PacketBurst()
    for (count, fault) in [(11, RingFault.shortBuffer), (12, .none), (13, .none)] {
      for isWritable in [false, true] {
        var (raw, driver) = ring(memory, format, size: 16)
        let pieces = (0..<count).map {
          RawPiece(address: Self.buffer + UInt64(2 * $0), length: 1, isWritable: isWritable)
        }
        let chain = driver.add(pieces, form)
        var model = RingModel(raw, chains: [chain], image: memory.copy())
        var device = try raw.device(memory, .indirectDescriptors)
        burst.clear()
        let done: Int
        if isWritable {
          let payload = [UInt8](repeating: 9, count: max(count - 12, 0))
          #expect(burst.append(payload, headerLength: 12))
          done = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true)
          if fault == .none { _ = model.send(payload, headerLength: 12, mergeable: true) }
        } else {
          done = device.dequeueBurst(into: burst, limit: 1, memory: memory.view, headerLength: 12)
          if done == 1 { #expect(burst.bytes(0) == model.packet(0)) }
        }
        #expect(device.fault == fault && done == (fault == .none ? 1 : 0))
        #expect(memory.differences(from: model.image) == [])
      }
    }
  }

  /// Buffers for packets that are shorter than the header (CVE-2026-86566), in front of a region that is not mapped.
  @Test(arguments: formats, [10, 12]) func runtBuffers(_ format: RingLayout.Format, headerLength: Int) throws {
    let memory = try TestMemory(SmallMemory.places)
    let burst = PacketBurst()
    for length in 0..<headerLength {
      for mergeable in [false, true] {
        for position in 0..<4 {
          var (raw, driver) = ring(memory, format, size: 4)
          var chains: [RawChain] = []
          for i in 0..<4 {
            let runt = RawPiece(
              address: SmallMemory.places[2].end - UInt64(length), length: UInt32(length), isWritable: true)
            let good = RawPiece(address: Self.buffer + UInt64(32 * i), length: 32, isWritable: true)
            chains.append(driver.add([i == position ? runt : good]))
          }
          var model = RingModel(raw, chains: chains, image: memory.copy())
          burst.clear()
          for _ in 0..<4 { #expect(burst.append([1, 2, 3], headerLength: headerLength)) }
          var device = try raw.device(memory)
          let sent = device.enqueueBurst(
            from: burst, first: 0, memory: memory.view, headerLength: headerLength, mergeable: mergeable)
          for _ in 0..<position { _ = model.send([1, 2, 3], headerLength: headerLength, mergeable: mergeable) }
          #expect(sent == position && device.fault == .shortBuffer)
          #expect(memory.differences(from: model.image) == [])
        }
      }
    }
  }

  /// The longest packet, one byte more, and lengths that no memory has: passed over, returned, and the ring goes on.
  @Test(arguments: formats) func longestPacket(_ format: RingLayout.Format) throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 4096), .init(start: 0x10_0000, size: 66000)])
    var (raw, driver) = ring(memory, format, size: 16)
    let longest = UInt32(PacketBurst.maxLength)
    let chains = [
      driver.add([.init(address: 0x10_0000, length: longest)]),
      driver.add([.init(address: 0x10_0000, length: longest + 1)]),
      driver.add([.init(address: 0x10_0000, length: longest), .init(address: 0x5000, length: 1)]),
      driver.add([.init(address: 0x5000, length: .max)]),
      driver.add([
        .init(address: 0x10_0000, length: 12), .init(address: 0x5000, length: .max), .init(address: 0, length: 1),
      ]),
      driver.add([.init(address: 0x10_0000, length: 13)]),
    ]
    var model = RingModel(raw, chains: chains, image: memory.copy())
    var device = try raw.device(memory)
    let burst = PacketBurst()
    #expect(device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12) == 6)
    #expect((0..<6).map { burst[$0].outcome } == [.pending] + Array(repeating: .oversized, count: 4) + [.pending])
    #expect((0..<6).map { burst[$0].length } == [Int(longest), 0, 0, 0, 0, 13])
    #expect(burst.payload(0, headerLength: 12) == memory.read(0x10_000c, Int(longest) - 12))
    #expect(burst.payload(1, headerLength: 12).count == 0)
    device.complete(burst, first: 0, count: 6)
    for _ in 0..<6 { model.use(length: 0) }
    #expect(memory.differences(from: model.image) == [] && device.fault == .none)

    // Sent on, they are passed over also when there is no buffer, and sending again does not revive them.
    var (receive, receiver) = ring(memory, format, size: 4, at: 0x1_0800)
    var to = try receive.device(memory)
    #expect(to.enqueueBurst(from: burst, first: 1, memory: memory.view, headerLength: 12, mergeable: false) == 4)
    burst.rearm()
    for i in 1..<5 { burst.truncate(i, to: 0) }
    #expect((1..<5).allSatisfy { burst[$0].outcome == .oversized && burst[$0].length == 0 })
    let buffer = receiver.add([.init(address: 0x1_0c00, length: 100, isWritable: true)])
    #expect(to.enqueueBurst(from: burst, first: 1, memory: memory.view, headerLength: 12, mergeable: false) == 5)
    let collected = receiver.collect()
    #expect(collected?.chain == buffer && collected?.length == 13 && burst[5].outcome == .delivered)
  }

  /// A burst whose arena is full leaves packets for the next one, and none is lost or torn.
  @Test(arguments: formats) func fullArena(_ format: RingLayout.Format) throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 4096), .init(start: 0x10_0000, size: 66000)])
    var (raw, driver) = ring(memory, format, size: 32)
    for i in 0..<32 as Range<UInt32> { driver.add([.init(address: 0x10_0000 + UInt64(i), length: 40000 + i)]) }
    var device = try raw.device(memory)
    let burst = PacketBurst()
    var packets = 0
    while device.pending() > 0 && packets < 32 {
      burst.clear()
      let taken = device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
      #expect(taken > 1 && taken < 32)
      for i in 0..<taken {
        #expect(burst.bytes(i) == memory.read(0x10_0000 + UInt64(packets), 40000 + packets))
        packets += 1
      }
      device.complete(burst, first: 0, count: taken)
    }
    var collected = 0
    while driver.collect() != nil { collected += 1 }
    #expect(packets == 32 && collected == 32 && device.fault == .none)
  }

  /// A packet in as many pieces as it has bytes: chains may be that long (virtio 1.2, §2.7.5 and §2.8.19).
  @Test(arguments: formats) func manySegments(_ format: RingLayout.Format) throws {
    let count = 2000
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x2_0000)])
    var (raw, driver) = ring(memory, format, size: 2048)
    let chain = driver.add(
      (0..<count).map { RawPiece(address: 0x2_8000 + UInt64(2 * $0), length: 1, isWritable: true) })
    var device = try raw.device(memory)
    let burst = PacketBurst()
    let payload = [UInt8](repeating: 7, count: count - 12)
    #expect(burst.append(payload, headerLength: 12))
    var model = RingModel(raw, chains: [chain], image: memory.copy())
    let sent = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: false)
    _ = model.send(payload, headerLength: 12, mergeable: false)
    #expect(sent == 1 && device.fault == .none && memory.differences(from: model.image) == [])
  }

  /// A chain of as many pieces as can be kept track of, and more: every buffer spans regions of a byte each.
  @Test(arguments: formats) func tooManySegments(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(
      [.init(start: 0x10_0000, size: 0x10_0000)] + (0..<5).map { .init(start: 0x1000 + $0, size: 1) })
    let segments = SegmentList()
    let burst = PacketBurst()
    #expect(SegmentList.capacity == 65536)
    for (descriptors, fault) in [(13107, RingFault.none), (13108, .tooManySegments)] {
      for isWritable in [false, true] {
        var (raw, driver) = ring(memory, format, size: 16384, at: 0x10_0000)
        driver.add(Array(repeating: RawPiece(address: 0x1000, length: 5, isWritable: isWritable), count: descriptors))
        let image = memory.copy()
        var device = try raw.device(memory)
        let chain = device.fetchChain(into: segments, memory: memory.view, outstanding: 0)
        #expect(device.fault == fault && (chain == nil) == (fault != .none))
        if chain != nil { #expect(segments.count == 65535) }
        #expect(memory.differences(from: image) == [])
        burst.clear()
        device = try raw.device(memory)
        guard isWritable else {
          #expect(
            device.dequeueBurst(into: burst, limit: 1, memory: memory.view, headerLength: 12) == (chain == nil ? 0 : 1))
          #expect(device.fault == fault)
          continue
        }
        #expect(burst.append([UInt8](repeating: 1, count: 65540 - 12), headerLength: 12))
        let sent = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: false)
        #expect(device.fault == fault && sent == (fault == .none ? 1 : 0))
        if fault != .none { #expect(memory.differences(from: image) == []) }
      }
    }
  }

  /// Packets that end where the arena of a burst ends, or one line before or behind: nothing is written outside, and nothing
  /// that a guest may send stops the process.
  @Test(arguments: RingLayout.Format.allCases) func packetsAtTheEndOfTheArena(_ format: RingLayout.Format) throws {
    let memory = try TestMemory([TestMemory.Place(start: 0x1_0000, size: 1 << 20)])
    let longest = UInt32(PacketBurst.maxLength)
    for third in stride(from: UInt32(64), through: longest, by: 64) {
      let raw = RawRing.fresh(memory, RingCase(format: format, size: 16), start: format.start)
      var driver = RawDriver(raw)
      var device = try raw.device(memory)
      for length in [longest, longest, third, longest, longest] {
        driver.add([.init(address: 0x2_0000, length: length)])
      }
      let burst = PacketBurst()
      let taken = device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
      try #require((3...4).contains(taken) && device.fault == .none, "\(third) bytes: \(taken)")
      for i in 0..<taken { try #require(burst[i].start + burst[i].length <= burst.arenaLength) }
    }
  }
}
