import CLinux
import Testing

@testable import Virtio

/// A guest that rewrites its rings, tables and descriptors while the device works on them.
@Suite struct DeviceRingRaceTests {
  private static let places: [TestMemory.Place] = [
    .init(start: 0x1_0000, size: 4096), .init(start: 0x1_1000, size: 4000), .init(start: 0x2_0000, size: 4096),
    .init(start: 0xffff_ffff_ffff_f000, size: 0xfff),
  ]
  private static let size = 16

  /// What a guest writes at random: interesting addresses are the ends of all regions, the rings themselves, tables,
  /// and what is not there.
  private static func descriptor(_ random: inout SplitMix, isWritable: Bool) -> RawDescriptor {
    let address: UInt64 =
      switch random.next() % 24 {
      case 0: random.next()
      case 1: random.next() % 0x5_0000
      case 2: UInt64.max &- random.next() % 64
      default:
        places[Int(random.next() % UInt64(places.count))].start
          &+ (random.next() % 4 == 0 ? random.next() % 4096 : random.next() % 64 &- 32)
          &+ (random.next() % 2 == 0 ? 4096 : 0)
      }
    let length: UInt32 =
      switch random.next() % 8 {
      case 0: UInt32(truncatingIfNeeded: random.next())
      case 1: .max
      case 2: 0
      case 3: UInt32(random.next() % 70000)
      default: UInt32(random.next() % 64)
      }
    let wanted: UInt16 = isWritable ? RawDescriptor.write : 0
    let flags =
      random.next() % 16 == 0 ? UInt16(truncatingIfNeeded: random.next()) : wanted | UInt16(random.next() % 2)
    return RawDescriptor(address: address, length: length, flags: flags, link: UInt16(random.next() % 17))
  }

  /// A table in the ring of one or more entries, and a descriptor that refers to it, mostly right.
  private static func reference(_ random: inout SplitMix) -> RawDescriptor {
    RawDescriptor(
      address: 0x1_0c00 + 16 * (random.next() % 8),
      length: random.next() % 8 == 0 ? UInt32(truncatingIfNeeded: random.next()) : 16 * UInt32(random.next() % 5),
      flags: RawDescriptor.indirect | (random.next() % 16 == 0 ? RawDescriptor.next : 0),
      link: UInt16(random.next() % 17))
  }

  private static func step(_ random: inout SplitMix, _ transmit: RawRing, _ receive: RawRing) {
    let raw = random.next() % 2 == 0 ? transmit : receive
    let isWritable = raw.descriptors == receive.descriptors
    let isReference = random.next() % 8 == 0
    var descriptor = isReference ? reference(&random) : Self.descriptor(&random, isWritable: isWritable)
    let index = Int(random.next() % UInt64(size))
    switch random.next() % 8 {
    case 0:
      let entry = Self.descriptor(&random, isWritable: isWritable)
      raw.write(entry, at: 0x1_0c00 + 16 * (random.next() % 16))
    case 1 where raw.format == .split:
      raw.setHead(UInt16(index), UInt16(random.next() % (random.next() % 64 == 0 ? 18 : 16)))
    case 2 where raw.format == .split: raw.setAvailIndex(UInt16(truncatingIfNeeded: random.next()))
    default:
      if raw.format == .packed {
        descriptor.flags |= random.next() % 2 == 0 ? RawDescriptor.avail : RawDescriptor.used
      }
      raw.setDescriptor(index, descriptor)
    }
  }

  @Test(arguments: RingLayout.Format.allCases, [1, 2] as [UInt64])
  func hostileGuest(_ format: RingLayout.Format, seed: UInt64) throws {
    let memory = try TestMemory(Self.places)
    let ranges = memory.guest.addressMap.ranges
    // The third region may only be read: it must stay as it is.
    let map = try AddressMap(ranges: [ranges[0], ranges[1], ranges[2].limited(to: .read), ranges[3]])
    let image = memory.copy()
    let transmit = RawRing(memory.bytes, format, size: Self.size, at: 0x1_0000, start: 0)
    let receive = RawRing(memory.bytes, format, size: Self.size, at: 0x1_0400, start: 0)
    let guest = GuestThread({ random in Self.step(&random, transmit, receive) }, seed: seed)
    defer { guest.stop() }

    var faults: Set<RingFault> = []
    var moved = 0
    var chains = 0
    var random = SplitMix(seed: ~seed)
    let burst = PacketBurst()
    let segments = SegmentList()
    // Many bursts, and until it came far enough to be worth something; the deadline is for a guest that never runs.
    var wanted: Set<RingFault> = [.none, .unmapped, .descriptorOrder, .indirectTable, .shortBuffer]
    // A chain of all of a packed ring's descriptors is too rare.
    if format == .split { wanted.formUnion([.availableIndex, .descriptorIndex, .chainLoop]) }
    let deadline = clinux_monotonic_nanoseconds() + 120_000_000_000
    var rounds = 0
    while (rounds < 8000 || moved < 100 || chains < 100 || !faults.isSuperset(of: wanted))
      && clinux_monotonic_nanoseconds() < deadline
    {
      rounds += 1
      // As after a reset of the device by its driver, wherever the driver happens to be.
      let (from, to): (UInt16, UInt16) =
        format == .split
        ? (transmit.availIndex &- 8, receive.availIndex &- 16)
        : (UInt16(random.next() % 16) | UInt16(random.next() % 2) << 15, UInt16(random.next() % 16))
      let features: Features = rounds % 2 == 0 ? [.indirectDescriptors, .eventIndex] : .indirectDescriptors
      var source = DeviceRing(try transmit.area(map.view), features: features, nextAvail: from, nextUsed: from)
      var sink = DeviceRing(try receive.area(map.view), features: features, nextAvail: to, nextUsed: to)
      try require(source.pending(limit: .max) <= Self.size, "more chains than descriptors")
      if rounds % 4 == 0 {
        let chain = source.fetchChain(into: segments, memory: map.view, outstanding: 0)
        if let chain {
          let lengths = (0..<segments.count).map { segments[$0].length }
          let readable = lengths.prefix(chain.readableSegments).reduce(0, +)
          try require(readable == chain.readable, "a chain is what it was when it was looked at")
          try require(lengths.reduce(0, +) == chain.readable + chain.writable, "and so is its other part")
          source.returnChain(chain, written: chain.writable)
          source.publishChains()
          chains += 1
        }
      }
      burst.clear()
      let taken = source.dequeueBurst(into: burst, limit: 32, memory: map.view, headerLength: 12)
      for i in 0..<taken { try require(burst[i].length <= PacketBurst.maxLength, "packet too long") }
      moved += sink.enqueueBurst(from: burst, first: 0, memory: map.view, headerLength: 12, mergeable: seed % 2 == 1)
      source.complete(burst, first: 0, count: taken)
      for isWanted in [false, true] { source.setWantsKicks(isWanted) }
      _ = sink.wantsCall()
      faults.formUnion([source.fault, sink.fault])
    }
    for range in memory.bytes.canaries { #expect(range.allSatisfy { memory.bytes[$0] == image[$0] }, "\(range)") }
    #expect(memory.read(0x2_0000, 4096) == image.read(0x2_0000, 4096))
    #expect(moved >= 100 && chains >= 100 && faults.isSuperset(of: wanted), "\(moved) packets, \(chains), \(faults)")
    withExtendedLifetime(map) {}
  }

  /// A guest that changes one half of a descriptor between two values: the device works with one or the other, never
  /// with the length of one and the check of the other (CVE-2026-93683, CVE-2026-86845).
  @Test(arguments: RingLayout.Format.allCases) func descriptorsAreFetchedOnce(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    let ring = RingCase(format: format, size: 2)
    let raw = RawRing.fresh(memory, ring, start: ring.start)
    let buffer = SmallMemory.buffers
    // A good descriptor for 16 bytes to be read, and one for 8 to be written.
    try flip(
      memory, raw, at: raw.descriptorAddress(0), RawDescriptor(address: buffer, length: 16),
      RawDescriptor(address: buffer, length: 8, flags: RawDescriptor.write)
    ) { chain, segments, fault in
      guard let chain else { throw Unmet(description: "\(fault)") }
      try require(segments.count == 1 && segments[0].length == chain.readable + chain.writable, "\(chain)")
      try require(
        (chain.readable, chain.writable) == (16, 0) || (chain.readable, chain.writable) == (0, 8), "\(chain)")
      try require(chain.readableSegments == (chain.readable == 16 ? 1 : 0), "\(chain)")
      return chain.readable == 16
    }
  }

  /// The same with a table: its length is right, or it is not.
  @Test(arguments: RingLayout.Format.allCases) func tableLengthsAreFetchedOnce(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    let ring = RingCase(format: format, size: 2)
    let raw = RawRing.fresh(memory, ring, start: ring.start)
    let buffer = SmallMemory.buffers
    let table = SmallMemory.tables
    // One entry that is good, and behind it one that no check lets through; a split ring's chain would be cut off.
    raw.write(
      RawDescriptor(address: buffer, length: 16, flags: format == .split ? RawDescriptor.next : 0, link: 1), at: table)
    raw.write(RawDescriptor(address: format == .split ? buffer : 0x5000, length: 16), at: table + 16)
    let flags = RawDescriptor.indirect
    let (good, bad): (UInt32, UInt32) = format == .split ? (32, 24) : (16, 40)
    try flip(
      memory, raw, at: raw.descriptorAddress(0), RawDescriptor(address: table, length: good, flags: flags),
      RawDescriptor(address: table, length: bad, flags: flags)
    ) { chain, segments, fault in
      if let chain {
        try require(chain.readable == Int(good) && segments.count == chain.length, "\(chain)")
      } else {
        try require(fault == .indirectTable, "\(fault)")
      }
      return chain != nil
    }
  }

  /// Entries of a table, too.
  @Test(arguments: RingLayout.Format.allCases) func tableEntriesAreFetchedOnce(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    let ring = RingCase(format: format, size: 2)
    let raw = RawRing.fresh(memory, ring, start: ring.start)
    let end = SmallMemory.places[2].end
    let table = SmallMemory.tables
    raw.setDescriptor(
      0, RawDescriptor(address: table, length: 16, flags: RawDescriptor.indirect | raw.availBits(ring.start)))
    // Sixteen bytes up to the end of memory, and one more.
    try flip(
      memory, raw, at: table, RawDescriptor(address: end - 16, length: 16),
      RawDescriptor(address: end - 16, length: 17)
    ) { chain, segments, fault in
      if let chain {
        try require(chain.readable == 16 && segments.count == 1 && segments[0].length == 16, "\(chain)")
      } else {
        try require(fault == .unmapped, "\(fault)")
      }
      return chain != nil
    }
  }

  /// Fetches one chain over and over while a guest changes the half of a descriptor that has its length and flags.
  ///
  /// - Parameter check: Says which of the two it was.
  private func flip(
    _ memory: TestMemory, _ raw: RawRing, at address: UInt64, _ one: RawDescriptor, _ other: RawDescriptor,
    _ check: (DeviceRing.Chain?, SegmentList, RingFault) throws -> Bool
  ) throws {
    func half(_ descriptor: RawDescriptor) -> UInt64 {
      var descriptor = descriptor
      // One in the ring itself is available.
      if raw.format == .packed && address == raw.descriptors { descriptor.flags |= raw.availBits(raw.start) }
      raw.write(descriptor, at: address)
      return memory.bytes.uint64(address + 8)
    }
    let values = [half(other), half(one)]
    if raw.format == .split {
      raw.setHead(0, 0)
      raw.setAvailIndex(1)
    }
    let bytes = memory.bytes
    let guest = GuestThread(
      { _ in
        bytes.write(address + 8, values[0])
        bytes.write(address + 8, values[1])
      }, seed: 0)
    defer { guest.stop() }
    let segments = SegmentList()
    var seen = (one: 0, other: 0)
    let area = try raw.area(memory.view)
    let deadline = clinux_monotonic_nanoseconds() + 120_000_000_000
    while seen.one + seen.other < 30_000 || seen.one < 100 || seen.other < 100 {
      var device = DeviceRing(area, features: .indirectDescriptors, nextAvail: raw.start, nextUsed: raw.start)
      let chain = device.fetchChain(into: segments, memory: memory.view, outstanding: 0)
      if try check(chain, segments, device.fault) { seen.one += 1 } else { seen.other += 1 }
      try require(clinux_monotonic_nanoseconds() < deadline, "the guest does not run: \(seen)")
    }
  }
}
