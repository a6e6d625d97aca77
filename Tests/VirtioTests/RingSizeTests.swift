import Testing

@testable import Virtio

/// Rings of all orders of magnitude, up to the largest: a lap and a bit, across the point where positions start again.
@Suite struct RingSizeTests {
  static let rings =
    (0...15).map { RingCase(format: .split, size: 1 << $0) }
    + [1, 2, 3, 5, 7, 9, 16, 31, 33, 100, 255, 257, 1000, 1024, 4095, 16385, 32767, 32768].map {
      RingCase(format: .packed, size: $0)
    }

  /// Memory for a ring of a size, with buffers in a region of their own.
  private static func memory(_ ring: RingCase) throws -> TestMemory {
    try TestMemory([
      .init(start: 0x1000_0000, size: UInt64(26 * ring.size + 64)), .init(start: 0x10_0000, size: 0x1_0000),
    ])
  }

  /// Where both sides start: half a lap in front of the wrap.
  private static func start(_ ring: RingCase) -> UInt16 {
    ring.format == .split ? 0 &- UInt16(ring.size / 2) : UInt16(ring.size / 2)
  }

  @Test(arguments: rings) func aLapAndABit(_ ring: RingCase) throws {
    let memory = try Self.memory(ring)
    let raw = RawRing(memory.bytes, ring.format, size: ring.size, at: 0x1000_0000, start: Self.start(ring))
    var driver = DriverRing(try raw.area(memory.view), features: .eventIndex, startingAt: raw.start)
    var device = try raw.device(memory, .eventIndex)
    let burst = PacketBurst()
    var sent = 0
    var received = 0
    var position = raw.start
    while received < ring.size + 40 {
      // The whole ring, then a little.
      let wanted = received == 0 ? ring.size : min(ring.size, 40)
      for _ in 0..<wanted {
        let id = driver.add([
          .init(address: 0x10_0000 + UInt64(sent % 1000), length: UInt32(12 + sent % 50), isWritable: false)
        ])
        try require(id != nil, "\(sent)")
        sent += 1
      }
      try require(driver.freeCount == ring.size - wanted && driver.publish() == (received == 0), "\(received)")
      while device.pending() > 0 {
        burst.clear()
        let taken = device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
        try require(taken > 0 && device.fault == .none, "\(received): \(device.fault)")
        for i in 0..<taken { try require(burst[i].length == 12 + (received + i) % 50, "packet \(received + i)") }
        device.complete(burst, first: 0, count: taken)
        received += taken
        position = raw.next(position, by: taken)
        try require(device.nextAvail == position && device.nextUsed == position, "\(received)")
      }
      var collected = 0
      while let taken = try driver.collect() {
        try require(taken.length == 0, "\(taken)")
        collected += 1
      }
      try require(collected == wanted && driver.freeCount == ring.size && received == sent, "\(collected)")
      // Kicks are for the first time only, as the event stays where it is.
      if ring.format == .packed { device.setWantsKicks(false) }
    }
    let bytes = burst.bytes(burst.count - 1)
    try require(bytes == memory.read(0x10_0000 + UInt64((sent - 1) % 1000), bytes.count), "last packet")
  }

  /// One chain of all descriptors, from the middle of the ring around its end.
  @Test(arguments: [
    RingCase(format: .split, size: 32768), .init(format: .packed, size: 32768), .init(format: .packed, size: 32767),
  ])
  func longestChain(_ ring: RingCase) throws {
    let memory = try Self.memory(ring)
    let raw = RawRing(memory.bytes, ring.format, size: ring.size, at: 0x1000_0000, start: Self.start(ring))
    var driver = DriverRing(try raw.area(memory.view), features: [], startingAt: raw.start)
    var device = try raw.device(memory)
    let segments = SegmentList()
    let pieces = (0..<ring.size).map { i in
      DriverRing.Piece(address: 0x10_0000 + UInt64(i), length: 1, isWritable: i > ring.size / 2)
    }
    let id = driver.add(pieces)
    let isKicked = driver.publish()
    #expect(isKicked && driver.freeCount == 0 && device.pending() == 1)
    let fetched = device.fetchChain(into: segments, memory: memory.view, outstanding: 0)
    let chain = try #require(fetched)
    #expect(chain.id == id && Int(chain.descriptors) == ring.size && chain.length == ring.size)
    #expect(chain.readable == ring.size / 2 + 1 && segments.count == ring.size)
    #expect(segments.bytes(0..<100) == memory.read(0x10_0000, 100))
    device.returnChain(chain, written: chain.writable)
    device.publishChains()
    let taken = try driver.collect()
    #expect(taken?.head == id && taken.map { Int($0.length) } == chain.writable && driver.freeCount == ring.size)
    #expect(device.nextUsed == device.nextAvail)
  }
}
