import CRingLoop
import Peers
import Testing
import VDPA
import Virtio

@testable import vdpa_bench

/// What the Swift ring code is measured against makes the same checks: of rings that are right, nearly right and not right
/// at all, both codes make the same.
@Suite struct RingTwinTests {
  private static let size = 16
  private static let headerLength = RingCase.headerLength

  /// What a code has made of a ring.
  private struct Result: Equatable {
    var counts: [Int] = []
    var packets: [[UInt8]] = []
    var fault: UInt8 = 0
    var positions: [UInt16] = []
    /// All of guest memory.
    var memory: [[UInt8]] = []
  }

  /// The faults in C by what they are called in Swift.
  private static let faults: [RingFault: cring_fault] = [
    .none: CRING_FINE, .availableIndex: CRING_AVAILABLE_INDEX, .descriptorIndex: CRING_DESCRIPTOR_INDEX,
    .chainLoop: CRING_CHAIN_LOOP, .indirect: CRING_INDIRECT, .indirectTable: CRING_INDIRECT_TABLE,
    .descriptorOrder: CRING_DESCRIPTOR_ORDER, .unmapped: CRING_UNMAPPED, .shortBuffer: CRING_SHORT_BUFFER,
    .tooManySegments: CRING_TOO_MANY_SEGMENTS,
  ]

  @Test(arguments: RingLayout.Format.allCases, RingCase.Direction.allCases)
  func sameOfAnyRing(_ format: RingLayout.Format, _ direction: RingCase.Direction) throws {
    let ground = try RingGround([
      RingCase(format: format, direction: direction, size: RingTwinTests.size, regions: 3)
    ])
    var generator = SplitMix64(seed: 5)
    var seen: [UInt8: Int] = [:]
    var moved = 0
    for trial in 0..<1000 {
      write(format, direction, to: ground, &generator)
      let image = copy(ground)
      let isMergeable = Bool.random(using: &generator)
      let lengths = (0..<Int.random(in: 1...4, using: &generator)).map { _ in
        [20, 64, 300, 3000].randomElement(using: &generator) ?? 0
      }
      let swift = try self.swift(ground, direction, lengths, isMergeable: isMergeable)
      restore(ground, image)
      let c = try self.c(ground, direction, lengths, isMergeable: isMergeable)
      try #require(swift == c, "trial \(trial): \(swift.counts) \(swift.fault), \(c.counts) \(c.fault)")
      seen[swift.fault, default: 0] += 1
      moved += swift.counts.reduce(0, +)
    }
    // Not all of them are refused, and not all for one reason.
    #expect(moved > 500 && seen.count >= 5 && (seen[0] ?? 0) > 50, "\(moved) packets, faults \(seen)")
  }

  // MARK: Rings

  /// Writes a ring: most of what it says is right.
  private func write(
    _ format: RingLayout.Format, _ direction: RingCase.Direction, to ground: RingGround,
    _ generator: inout SplitMix64
  ) {
    let ring = ground.rings[0].description(index: 0)
    let regions = unsafe ground.regions.map { unsafe ($0.start, $0.end) }
    // Tables have half a region of their own, which no buffer reaches into.
    let tables = regions[2].0 + (regions[2].1 - regions[2].0) / 2
    func chance(_ share: Int) -> Bool { Int.random(in: 0..<100, using: &generator) < share }
    func pick<Value>(_ values: [Value]) -> Value { values[Int.random(in: 0..<values.count, using: &generator)] }
    func address() -> UInt64 {
      chance(88)
        ? regions[1].0 + UInt64.random(in: 0..<(regions[1].1 - regions[1].0) / 2, using: &generator)
        : pick([regions[1].1 - 20, regions[1].1, regions[2].0, 0, UInt64.max - 10, regions[0].0 - 1])
    }
    func descriptor(inTable: Bool) -> RingDescriptor {
      var flags: UInt16 = direction == .enqueue ? RingDescriptor.write : 0
      if chance(20) { flags |= RingDescriptor.next }
      if chance(2) { flags ^= RingDescriptor.write }
      var (start, length) = (address(), pick([76, 76, 76, 100, 400, 2000] as [UInt32]))
      if chance(6) { length = pick([0, 1, 11, 12, 65562, 65563, 70000, .max]) }
      if chance(inTable ? 1 : 10) {
        flags = RingDescriptor.indirect | (chance(5) ? RingDescriptor.next : 0)
        start = tables + 256 * UInt64.random(in: 0..<4, using: &generator) + (chance(5) ? 4 : 0)
        length = chance(90) ? 16 * UInt32.random(in: 1...6, using: &generator) : pick([0, 8, 1 << 20])
      }
      let link = UInt16.random(in: 0...UInt16(chance(95) ? RingTwinTests.size - 1 : 20), using: &generator)
      return RingDescriptor(address: start, length: length, flags: flags, link: inTable ? link % 6 : link)
    }
    func store(_ value: UInt64, _ bytes: Int, at address: UInt64) {
      for i in 0..<bytes {
        unsafe host(ground, address + UInt64(i)).pointee = UInt8(truncatingIfNeeded: value >> (8 * i))
      }
    }
    func store(_ value: RingDescriptor, at address: UInt64) {
      store(value.address, 8, at: address)
      store(UInt64(value.length), 4, at: address + 8)
      store(UInt64(format == .split ? value.flags : value.link), 2, at: address + 12)
      store(UInt64(format == .split ? value.link : value.flags), 2, at: address + 14)
    }
    for i in 0..<4 * 16 { store(descriptor(inTable: true), at: tables + UInt64(i) * 16) }
    for i in 0..<RingTwinTests.size {
      var value = descriptor(inTable: false)
      if format == .packed { value.flags |= chance(90) ? RingDescriptor.avail : RingDescriptor.used }
      store(value, at: ring.descriptor + UInt64(i) * 16)
    }
    guard format == .split else { return }
    for i in 0..<RingTwinTests.size {
      store(chance(98) ? UInt64(pick(Array(0..<16))) : 16, 2, at: ring.avail + 4 + UInt64(i) * 2)
    }
    store(UInt64(chance(95) ? pick(Array(0...16)) : 17), 2, at: ring.avail + 2)
    store(0, 2, at: ring.used + 2)
  }

  private func host(_ ground: RingGround, _ address: UInt64) -> UnsafeMutablePointer<UInt8> {
    for i in unsafe ground.regions.indices {
      let region = unsafe ground.regions[i]
      if unsafe address >= region.start && address < region.end {
        return unsafe region.host + Int(address - region.start)
      }
    }
    fatalError("the test writes where there is no memory")
  }

  private func copy(_ ground: RingGround) -> [[UInt8]] {
    unsafe ground.regions.map { region in
      unsafe Array(UnsafeBufferPointer(start: region.host, count: Int(region.end - region.start)))
    }
  }

  private func restore(_ ground: RingGround, _ image: [[UInt8]]) {
    for (r, bytes) in image.enumerated() {
      unsafe ground.regions[r].host.update(from: bytes, count: bytes.count)
    }
  }

  // MARK: Codes

  /// Two bursts, or the same burst of packets twice.
  private func swift(
    _ ground: RingGround, _ direction: RingCase.Direction, _ lengths: [Int], isMergeable: Bool
  ) throws -> Result {
    let memory = ground.rings[0].ringMemory
    var ring = DeviceRing(
      memory, features: [.version1, .indirectDescriptors], nextAvail: memory.start, nextUsed: memory.start)
    var result = Result()
    let burst = PacketBurst()
    let view = ground.memory.addressMap.view
    for length in lengths where direction == .enqueue {
      burst.append(length: length) { for i in $0.indices { $0[i] = GuestRing.byte(i, of: length) } }
    }
    for _ in 0..<2 {
      switch direction {
      case .dequeue:
        burst.clear()
        result.counts.append(
          ring.dequeueBurst(into: burst, limit: 5, memory: view, headerLength: RingTwinTests.headerLength))
        for i in 0..<burst.count {
          result.packets.append(
            burst.withPayload(i, headerLength: 0) { span in unsafe span.withUnsafeBytes { unsafe Array($0) } })
        }
        ring.complete(burst, first: 0, count: burst.count)
      case .enqueue:
        burst.rearm()
        result.counts.append(
          ring.enqueueBurst(
            from: burst, first: 0, memory: view, headerLength: RingTwinTests.headerLength, mergeable: isMergeable))
      }
    }
    result.fault = UInt8(try #require(RingTwinTests.faults[ring.fault]).rawValue)
    result.positions = [ring.nextAvail, ring.nextUsed]
    result.memory = copy(ground)
    return result
  }

  private func c(
    _ ground: RingGround, _ direction: RingCase.Direction, _ lengths: [Int], isMergeable: Bool
  ) throws -> Result {
    var ring = unsafe ground.rings[0].cRing()
    var view = unsafe cring_view(regions: ground.regions.baseAddress, count: ground.regions.count, last: 0)
    let created = unsafe cring_burst_create()
    let burst = unsafe try #require(created)
    defer { unsafe cring_burst_free(burst) }
    var result = Result()
    for length in lengths where direction == .enqueue {
      let payload = unsafe cring_burst_append(burst, RingTwinTests.headerLength, length)
      for i in 0..<length { unsafe payload?[i] = GuestRing.byte(i, of: length) }
    }
    for _ in 0..<2 {
      switch direction {
      case .dequeue:
        unsafe cring_burst_clear(burst)
        let count = unsafe cring_dequeue(&ring, burst, 5, &view, RingTwinTests.headerLength)
        result.counts.append(count)
        for i in 0..<count {
          let packet = unsafe withUnsafeBytes(of: &burst.pointee.packets) {
            unsafe $0.load(fromByteOffset: i * MemoryLayout<cring_packet>.stride, as: cring_packet.self)
          }
          result.packets.append(
            unsafe Array(UnsafeBufferPointer(start: burst.pointee.arena + packet.start, count: packet.length)))
        }
        unsafe cring_complete(&ring, burst, 0, count)
      case .enqueue:
        unsafe cring_burst_rearm(burst)
        result.counts.append(
          unsafe cring_enqueue(&ring, burst, 0, &view, RingTwinTests.headerLength, isMergeable))
      }
    }
    result.fault = unsafe ring.fault
    result.positions = unsafe [ring.next_avail, ring.next_used]
    result.memory = copy(ground)
    return result
  }
}
