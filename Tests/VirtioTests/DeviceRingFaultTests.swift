import Testing

@testable import Virtio

/// What no correct driver writes: each fault by name, on rings of either format and direction, with all of memory
/// compared.
@Suite struct DeviceRingFaultTests {
  /// Good buffers.
  static let buffer = SmallMemory.buffers
  static let next = RawDescriptor.next
  static let indirect = RawDescriptor.indirect
  /// The end of memory that has nothing behind it.
  static let end = SmallMemory.places[2].end

  /// A corruption: descriptors 1 to 3 of a ring of four. Flags are those of a ring that the device reads; in a split
  /// ring the link is the next descriptor.
  struct Case: CustomTestStringConvertible, Sendable {
    var name: String
    var fault: RingFault
    var descriptors: [RawDescriptor]
    var formats: [RingLayout.Format] = RingLayout.Format.allCases
    /// Split only.
    var head: UInt16 = 1
    var availAhead: UInt16 = 1
    var testDescription: String { name }
  }

  private static func descriptor(
    _ address: UInt64 = buffer, _ length: UInt32 = 16, _ flags: UInt16 = 0, link: UInt16 = 0
  ) -> RawDescriptor {
    RawDescriptor(address: address, length: length, flags: flags, link: link)
  }
  /// Descriptors that follow each other, in either format.
  private static func chain(_ pieces: (address: UInt64, length: UInt32)...) -> [RawDescriptor] {
    pieces.enumerated().map { i, piece in
      let isLast = i == pieces.count - 1
      return descriptor(piece.address, piece.length, isLast ? 0 : next, link: isLast ? 0 : UInt16(i + 2))
    }
  }

  static let cases: [Case] = [
    // What only one of the formats has.
    Case(
      name: "available index ahead by 5", fault: .availableIndex, descriptors: [descriptor()], formats: [.split],
      availAhead: 4),
    Case(
      name: "available index behind", fault: .availableIndex, descriptors: [descriptor()], formats: [.split],
      availAhead: 0xfffe),
    Case(name: "head is the size", fault: .descriptorIndex, descriptors: [descriptor()], formats: [.split], head: 4),
    Case(name: "head is 65535", fault: .descriptorIndex, descriptors: [descriptor()], formats: [.split], head: 0xffff),
    Case(
      name: "next is the size", fault: .descriptorIndex, descriptors: [descriptor(buffer, 1, next, link: 4)],
      formats: [.split]),
    Case(
      name: "next is 65535", fault: .descriptorIndex, descriptors: [descriptor(buffer, 1, next, link: 0xffff)],
      formats: [.split]),
    Case(
      name: "self-loop", fault: .chainLoop, descriptors: [descriptor(buffer, 1, next, link: 1)], formats: [.split]),
    Case(
      name: "self-loop of nothing", fault: .chainLoop, descriptors: [descriptor(buffer, 0, next, link: 1)],
      formats: [.split]),
    Case(
      name: "loop of three", fault: .chainLoop,
      descriptors: (1...3).map { descriptor(buffer, 1, next, link: UInt16($0 % 3 + 1)) }, formats: [.split]),
    // What both have.
    Case(name: "indirect", fault: .indirect, descriptors: [descriptor(buffer, 16, indirect)]),
    Case(
      name: "indirect and next", fault: .indirect, descriptors: [descriptor(buffer, 16, indirect | next, link: 2)]),
    Case(
      name: "indirect in the middle", fault: .indirect,
      descriptors: [descriptor(buffer, 1, next, link: 2), descriptor(buffer, 16, indirect)]),
    Case(name: "unmapped", fault: .unmapped, descriptors: chain((0x5000, 16))),
    Case(name: "address 0", fault: .unmapped, descriptors: chain((0, 16))),
    Case(name: "address 2^64-1", fault: .unmapped, descriptors: chain((.max, 16))),
    Case(name: "behind 2^64", fault: .unmapped, descriptors: chain((.max - 8, 16))),
    Case(name: "over the end of memory", fault: .unmapped, descriptors: chain((end - 15, 16))),
    Case(name: "at the end of memory", fault: .unmapped, descriptors: chain((end, 16))),
    Case(name: "in front of memory", fault: .unmapped, descriptors: chain((0xffff, 16))),
    Case(name: "second unmapped", fault: .unmapped, descriptors: chain((buffer, 12), (0x5000, 1))),
    Case(name: "third unmapped", fault: .unmapped, descriptors: chain((buffer, 12), (buffer, 0), (0x5000, 1))),
    Case(name: "nothing", fault: .shortBuffer, descriptors: chain((buffer, 0))),
    Case(name: "header less 1", fault: .shortBuffer, descriptors: chain((buffer, 11))),
    Case(name: "header less 1 in three", fault: .shortBuffer, descriptors: chain((buffer, 5), (0, 0), (buffer, 6))),
  ]

  /// Cases with the formats in which they can be written.
  struct Run: CustomTestStringConvertible, Sendable {
    var bad: Case
    var format: RingLayout.Format
    var testDescription: String { "\(format): \(bad.name)" }
  }
  static let runs = cases.flatMap { bad in bad.formats.map { Run(bad: bad, format: $0) } }

  /// A ring of four, in which chain 0 is in order and the second is corrupt; positions wrap around in front of the
  /// latter.
  private func ring(_ memory: TestMemory, _ run: Run, flags: UInt16) -> RawRing {
    let bad = run.bad
    let raw = RawRing.fresh(
      memory, RingCase(format: run.format, size: 4), start: run.format == .split ? 65535 : 0x8000)
    let good = RawDescriptor(address: 0x1_0900, length: 20, flags: flags)
    switch run.format {
    case .split:
      raw.setDescriptor(0, good)
      for (i, descriptor) in bad.descriptors.enumerated() {
        var descriptor = descriptor
        descriptor.flags |= flags
        raw.setDescriptor(i + 1, descriptor)
      }
      raw.setHead(65535, 0)
      raw.setHead(0, bad.head)
      raw.setAvailIndex(0 &+ bad.availAhead)
    case .packed:
      for (i, descriptor) in ([good] + bad.descriptors).enumerated() {
        var descriptor = descriptor
        descriptor.flags |= flags | RawDescriptor.avail
        descriptor.link = UInt16(i == 0 ? 0 : 7)
        raw.setDescriptor(i, descriptor)
      }
    }
    return raw
  }

  /// After a fault nothing is read, taken or, but for what was fetched before, written any more.
  private func expectBroken(
    _ device: inout DeviceRing, _ raw: RawRing, _ memory: TestMemory, _ fault: RingFault, _ burst: PacketBurst
  ) {
    #expect(device.fault == fault)
    let image = memory.copy()
    let count = burst.count
    let position = device.nextAvail
    // A good chain where the device would look next.
    switch raw.format {
    case .split:
      raw.setAvailIndex(position &+ 1)
      raw.setHead(position, 0)
    case .packed:
      raw.setDescriptor(
        raw.index(position), RawDescriptor(address: 0x1_0900, length: 20, flags: raw.availBits(position), link: 0))
    }
    let after = memory.copy()
    let segments = SegmentList()
    let pending = device.pending()
    let chain = device.fetchChain(into: segments, memory: memory.view, outstanding: 0)
    #expect(pending == 0 && chain == nil)
    let taken = device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
    let sent = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true)
    #expect(taken == 0 && sent == 0)
    device.setWantsKicks(false)
    device.publishChains()
    #expect(burst.count == count && device.nextAvail == position && device.fault == fault)
    #expect(memory.differences(from: after) == [])
    memory.restore(image)
  }

  @Test(arguments: runs) func dequeue(_ run: Run) throws {
    let memory = try TestMemory(SmallMemory.places)
    let raw = ring(memory, run, flags: 0)
    let image = memory.copy()
    var device = try raw.device(memory)
    let burst = PacketBurst()
    let taken = device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
    let earlier = run.bad.fault == .availableIndex ? 0 : 1
    #expect(taken == earlier && burst.count == earlier)
    #expect(memory.differences(from: image) == [])
    if earlier == 1 { #expect(burst.payload(0, headerLength: 12) == memory.read(0x1_090c, 8)) }
    expectBroken(&device, raw, memory, run.bad.fault, burst)
    // What was fetched before is finished: nothing stays with a device that serves the ring no more.
    var model = RingModel(
      raw, chains: [RawChain(id: 0, descriptors: 1, pieces: [])], image: memory.copy())
    device.complete(burst, first: 0, count: earlier)
    if earlier == 1 { model.use(length: 0) }
    #expect(memory.differences(from: model.image) == [])
    #expect(device.nextUsed == device.nextAvail && device.nextUsed == model.device.nextUsed)
  }

  @Test(arguments: runs, [false, true]) func enqueue(_ run: Run, mergeable: Bool) throws {
    let memory = try TestMemory(SmallMemory.places)
    let raw = ring(memory, run, flags: RawDescriptor.write)
    let pieces = [RawPiece(address: 0x1_0900, length: 20, isWritable: true)]
    var model = RingModel(raw, chains: [RawChain(id: 0, descriptors: 1, pieces: pieces)], image: memory.copy())
    var device = try raw.device(memory)
    let burst = PacketBurst()
    for i in 0..<3 {
      let bytes = [UInt8](repeating: UInt8(i + 1), count: i == 0 ? 8 : 4)
      #expect(burst.append(bytes, headerLength: 12))
    }
    let taken = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: mergeable)
    let earlier = run.bad.fault == .availableIndex ? 0 : 1
    #expect(taken == earlier)
    if earlier == 1 {
      let outcome = model.send([UInt8](repeating: 1, count: 8), headerLength: 12, mergeable: mergeable)
      #expect(outcome == .delivered && burst[0].outcome == .delivered)
    }
    #expect(burst[1].outcome == .pending && burst[2].outcome == .pending)
    #expect(memory.differences(from: model.image) == [])
    expectBroken(&device, raw, memory, run.bad.fault, burst)
  }

  /// The same by chains, which know of no header.
  @Test(arguments: runs.filter { $0.bad.fault != .shortBuffer }) func fetch(_ run: Run) throws {
    let memory = try TestMemory(SmallMemory.places)
    for flags in [0, RawDescriptor.write] {
      let raw = ring(memory, run, flags: flags)
      let image = memory.copy()
      var device = try raw.device(memory)
      let segments = SegmentList()
      let first = device.fetchChain(into: segments, memory: memory.view, outstanding: 0)
      #expect((first == nil) == (run.bad.fault == .availableIndex))
      let position = device.nextAvail
      let second = device.fetchChain(into: segments, memory: memory.view, outstanding: 1)
      #expect(second == nil && device.nextAvail == position)
      #expect(memory.differences(from: image) == [])
      expectBroken(&device, raw, memory, run.bad.fault, PacketBurst())
    }
  }

  @Test func everyFaultHasWords() {
    let faults = (0...UInt8.max).compactMap(RingFault.init(rawValue:))
    #expect(faults.count == 12 && Set(faults.map(\.description)).count == 12)
  }

  // MARK: Directions

  /// Every order of up to three readable and writable descriptors, in the ring and in a table.
  @Test(arguments: RingLayout.Format.allCases, [false, true])
  func directions(_ format: RingLayout.Format, isIndirect: Bool) throws {
    let memory = try TestMemory(SmallMemory.places)
    let ring = RingCase(format: format, size: 4)
    let burst = PacketBurst()
    let segments = SegmentList()
    for count in 1...3 {
      for pattern in 0..<1 << count {
        let raw = RawRing.fresh(memory, ring, start: ring.start)
        var driver = RawDriver(raw)
        let pieces = (0..<count).map { i in
          RawPiece(address: Self.buffer + UInt64(16 * i), length: 12, isWritable: pattern >> i & 1 != 0)
        }
        driver.add(pieces, isIndirect ? .indirect(table: SmallMemory.tables) : .direct)
        let image = memory.copy()
        let isOrdered = !zip(pieces, pieces.dropFirst()).contains { $0.isWritable && !$1.isWritable }
        func fault(_ body: (inout DeviceRing) -> Void) throws -> RingFault {
          memory.restore(image)
          var device = try raw.device(memory, .indirectDescriptors)
          body(&device)
          if device.fault != .none { try requireSame(memory, image, "\(pieces)") }
          return device.fault
        }
        let fetched = try fault { _ = $0.fetchChain(into: segments, memory: memory.view, outstanding: 0) }
        try require(fetched == (isOrdered ? .none : .descriptorOrder), "\(pieces): \(fetched)")
        let dequeued = try fault {
          burst.clear()
          _ = $0.dequeueBurst(into: burst, limit: 1, memory: memory.view, headerLength: 12)
        }
        // In a packed ring's table the flag does not count, for DPDK's driver has it wrong.
        let isPacket = !pieces[0].isWritable
        let expected: RingFault =
          format == .packed && isIndirect
          ? .none : isOrdered ? isPacket ? .none : .shortBuffer : .descriptorOrder
        try require(dequeued == expected, "\(pieces): \(dequeued)")
        if dequeued == .none && isIndirect && format == .packed {
          try require(burst[0].length == 12 * count, "\(pieces): all of it is read")
        }
        let enqueued = try fault {
          burst.clear()
          _ = burst.append([UInt8](repeating: 7, count: 12 * count - 12), headerLength: 12)
          _ = $0.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true)
        }
        try require(
          enqueued == (pieces.allSatisfy(\.isWritable) ? .none : .descriptorOrder), "\(pieces): \(enqueued)")
      }
    }
  }

  /// A range that the device may only read, or only write, is not there for the other.
  @Test(arguments: RingLayout.Format.allCases, [false, true])
  func permissions(_ format: RingLayout.Format, isIndirect: Bool) throws {
    let memory = try TestMemory((1...3).map { .init(start: $0 << 16, size: 4096) })
    let ranges = memory.guest.addressMap.ranges
    let map = try AddressMap(ranges: [ranges[0], ranges[1].limited(to: .read), ranges[2].limited(to: .write)])
    let ring = RingCase(format: format, size: 4)
    func run(_ address: UInt64, table: UInt64 = 0x1_0800, enqueue: Bool) throws -> RingFault {
      let raw = RawRing.fresh(memory, ring, start: ring.start)
      var driver = RawDriver(raw)
      driver.add(
        [.init(address: address, length: 20, isWritable: enqueue)], isIndirect ? .indirect(table: table) : .direct)
      let image = memory.copy()
      var device = DeviceRing(
        try raw.area(map.view), features: .indirectDescriptors, nextAvail: ring.start, nextUsed: ring.start)
      let burst = PacketBurst()
      if enqueue {
        #expect(burst.append([UInt8](repeating: 0, count: 8), headerLength: 12))
        let sent = device.enqueueBurst(from: burst, first: 0, memory: map.view, headerLength: 12, mergeable: false)
        if sent == 0 { #expect(memory.differences(from: image) == []) }
      } else {
        _ = device.dequeueBurst(into: burst, limit: 1, memory: map.view, headerLength: 12)
      }
      return device.fault
    }
    #expect(try run(0x2_0000, enqueue: true) == .unmapped)
    #expect(try run(0x2_0000, enqueue: false) == .none)
    #expect(try run(0x3_0000, enqueue: true) == .none)
    #expect(try run(0x3_0000, enqueue: false) == .unmapped)
    // A table is read, whatever its buffers are for.
    for enqueue in [false, true] {
      #expect(try run(0x1_0c00, table: 0x2_0000, enqueue: enqueue) == .none)
      #expect(try run(0x1_0c00, table: 0x3_0000, enqueue: enqueue) == (isIndirect ? .unmapped : .none))
    }
    withExtendedLifetime(map) {}
  }
}
