import Testing

@testable import Virtio

/// Indirect tables (virtio 1.2, §2.7.5.3 and §2.8.8): what a driver may write, and what none may.
@Suite struct DeviceRingTableTests {
  private static let formats = RingLayout.Format.allCases
  private static let buffer = SmallMemory.buffers
  private static let tables = SmallMemory.tables
  private static let next = RawDescriptor.next
  private static let indirect = RawDescriptor.indirect

  /// A ring of four with one chain of its own making: descriptors of the ring from its start on, and a table.
  private static func ring(
    _ memory: TestMemory, _ format: RingLayout.Format, size: Int = 4, _ descriptors: [RawDescriptor],
    table: [RawDescriptor] = [], at address: UInt64 = tables
  ) -> RawRing {
    let ring = RingCase(format: format, size: size)
    let raw = RawRing.fresh(memory, ring, start: ring.start)
    for (i, descriptor) in descriptors.enumerated() {
      var descriptor = descriptor
      if format == .packed { descriptor.flags |= RawDescriptor.avail }
      raw.setDescriptor(i, descriptor)
    }
    for (i, entry) in table.enumerated() { raw.write(entry, at: address + UInt64(16 * i)) }
    if format == .split {
      raw.setHead(0, 0)
      raw.setAvailIndex(1)
    }
    return raw
  }

  private static func reference(
    _ length: UInt32, at address: UInt64 = tables, _ flags: UInt16 = indirect, link: UInt16 = 1
  ) -> RawDescriptor {
    RawDescriptor(address: address, length: length, flags: flags, link: link)
  }
  private static func entry(
    _ address: UInt64 = buffer, _ length: UInt32 = 16, _ flags: UInt16 = 0, link: UInt16 = 0
  ) -> RawDescriptor {
    RawDescriptor(address: address, length: length, flags: flags, link: link)
  }

  // MARK: What a driver may write

  /// Entries of a split ring's table stand in any order behind the first.
  @Test func everyOrderOfATable() throws {
    let memory = try TestMemory(SmallMemory.places)
    let segments = SegmentList()
    let pieces = (0..<4).map { RawPiece(address: Self.buffer + UInt64(32 * $0), length: UInt32(16 + $0)) }
    for order in DeviceRingChainTests.permutations(3) {
      // Where each piece stands.
      let places = [0] + order.map { $0 + 1 }
      var table = Array(repeating: RawDescriptor(), count: 4)
      for (i, piece) in pieces.enumerated() {
        table[places[i]] = Self.entry(
          piece.address, piece.length, i < 3 ? Self.next : 0, link: i < 3 ? UInt16(places[i + 1]) : 0xffff)
      }
      let raw = Self.ring(memory, .split, [Self.reference(64)], table: table)
      var device = try raw.device(memory, .indirectDescriptors)
      let chain = device.fetchChain(into: segments, memory: memory.view, outstanding: 0)
      #expect(chain?.length == 4 && device.fault == .none)
      #expect(segments.bytes(0..<segments.count) == pieces.flatMap { memory.read($0.address, Int($0.length)) })
    }
  }

  /// A chain may have more descriptors than a small ring if they are in a table: 1024, as drivers of the field make
  /// them, or the ring's size.
  @Test(arguments: formats, [1, 4, 2048]) func longestTable(_ format: RingLayout.Format, size: Int) throws {
    let memory = try TestMemory([.init(start: 0x10_0000, size: 0x2_0000), .init(start: 0x1_0000, size: 0x1_0000)])
    let segments = SegmentList()
    let burst = PacketBurst()
    let longest = max(size, 1024)
    for (length, fault) in [(longest, RingFault.none), (longest + 1, .chainLoop)] {
      let raw = RawRing.fresh(
        memory, RingCase(format: format, size: size), at: 0x10_0000, start: format == .split ? 0 : 0x8000)
      var driver = RawDriver(raw)
      let pieces = (0..<length).map { RawPiece(address: 0x1_0000 + UInt64(2 * $0), length: 1, isWritable: true) }
      let added = driver.add(pieces, .indirect(table: 0x11_0004))
      var model = RingModel(raw, chains: [added], image: memory.copy())
      var device = try raw.device(memory, .indirectDescriptors)
      let chain = device.fetchChain(into: segments, memory: memory.view, outstanding: 0)
      #expect(chain?.writable == (fault == .none ? length : nil) && device.fault == fault)
      burst.clear()
      let payload = [UInt8](repeating: 3, count: length - 12)
      #expect(burst.append(payload, headerLength: 12))
      device = try raw.device(memory, .indirectDescriptors)
      let sent = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: false)
      #expect(sent == (fault == .none ? 1 : 0) && device.fault == fault)
      if sent == 1 { _ = model.send(payload, headerLength: 12, mergeable: false) }
      #expect(memory.differences(from: model.image) == [])
    }
  }

  /// What lies behind a chain in a split ring's table need not be there.
  @Test(arguments: [0x20, 0x2000, 0xffff_fff0] as [UInt32]) func tableLongerThanItsChain(length: UInt32) throws {
    let memory = try TestMemory(SmallMemory.places)
    let at = SmallMemory.places[2].end - 32
    let raw = Self.ring(
      memory, .split, [Self.reference(length, at: at)],
      table: [Self.entry(Self.buffer, 16, Self.next, link: 1), Self.entry()],
      at: at)
    var device = try raw.device(memory, .indirectDescriptors)
    let chain = device.fetchChain(into: SegmentList(), memory: memory.view, outstanding: 0)
    #expect(chain?.readable == 32 && device.fault == .none)
  }

  /// The standard wants chains of a packed ring to be all in the ring or all in a table (§2.8.7); this is taken as in a
  /// split ring. The id stands in the descriptor that refers to the table.
  @Test func packedChainThatEndsInATable() throws {
    let memory = try TestMemory(SmallMemory.places)
    let raw = Self.ring(
      memory, .packed, [Self.entry(Self.buffer, 16, Self.next, link: 77), Self.reference(32, link: 4711)],
      table: [Self.entry(), Self.entry()])
    var device = try raw.device(memory, .indirectDescriptors)
    let chain = device.fetchChain(into: SegmentList(), memory: memory.view, outstanding: 0)
    #expect(chain?.id == 4711 && chain?.descriptors == 2 && chain?.length == 3 && chain?.readable == 48)
  }

  // MARK: What none may

  struct Case: CustomTestStringConvertible, Sendable {
    var name: String
    var fault: RingFault
    var descriptors: [RawDescriptor]
    var table: [RawDescriptor] = []
    var at: UInt64 = tables
    var formats: [RingLayout.Format] = RingLayout.Format.allCases
    var testDescription: String { name }
  }

  private static let end = SmallMemory.places[2].end
  /// Two entries that follow each other in either format.
  private static let two = [entry(buffer, 16, next, link: 1), entry()]

  private static let badLengths = ([0, 1, 8, 15, 17, 24, 0xffff_ffff] as [UInt32]).map { length in
    Case(
      name: "length \(length)", fault: .indirectTable, descriptors: [reference(length)],
      table: [entry(), entry()])
  }
  static let cases =
    badLengths + [
      Case(
        name: "followed by another descriptor", fault: .indirectTable,
        descriptors: [reference(16, at: tables, indirect | next), entry()], table: [entry()]),
      Case(
        name: "followed by another descriptor, behind one", fault: .indirectTable,
        descriptors: [entry(buffer, 16, next, link: 1), reference(16, at: tables, indirect | next, link: 2), entry()],
        table: [entry()]),
      Case(
        name: "table in a table", fault: .indirectTable, descriptors: [reference(16)],
        table: [reference(16, at: tables + 64), entry()]),
      Case(
        name: "table at the end of a table", fault: .indirectTable, descriptors: [reference(32)],
        table: [two[0], reference(16, at: tables + 64)]),
      Case(
        name: "table in itself", fault: .indirectTable, descriptors: [reference(16)], table: [reference(16)]),
      Case(
        name: "next is the length", fault: .descriptorIndex, descriptors: [reference(32)],
        table: [entry(buffer, 16, next, link: 2), entry(), entry()], formats: [.split]),
      Case(
        name: "next is 65535", fault: .descriptorIndex, descriptors: [reference(32)],
        table: [entry(buffer, 16, next, link: 0xffff), entry()], formats: [.split]),
      Case(
        name: "next is in the ring and not in the table", fault: .descriptorIndex, descriptors: [reference(16)],
        table: [entry(buffer, 16, next, link: 1), entry()], formats: [.split]),
      Case(
        name: "self-loop", fault: .chainLoop, descriptors: [reference(16)], table: [entry(buffer, 0, next, link: 0)],
        formats: [.split]),
      Case(
        name: "loop of two", fault: .chainLoop, descriptors: [reference(32)],
        table: [entry(buffer, 0, next, link: 1), entry(buffer, 0, next, link: 0)], formats: [.split]),
      Case(
        name: "loop in a table of 2^28 entries", fault: .chainLoop, descriptors: [reference(0xffff_fff0)],
        table: [entry(buffer, 0, next, link: 1), entry(buffer, 0, next, link: 0)], formats: [.split]),
      Case(
        name: "2^28 entries", fault: .unmapped, descriptors: [reference(0xffff_fff0, at: end - 32)],
        table: [entry(buffer, 0), entry(buffer, 0)], at: end - 32, formats: [.packed]),
      Case(name: "unmapped", fault: .unmapped, descriptors: [reference(16, at: 0x5000)]),
      Case(name: "address 0", fault: .unmapped, descriptors: [reference(16, at: 0)]),
      Case(name: "address 2^64-1", fault: .unmapped, descriptors: [reference(16, at: .max)]),
      Case(name: "behind 2^64", fault: .unmapped, descriptors: [reference(16, at: .max - 7)]),
      Case(
        name: "last entry behind the end of memory", fault: .unmapped, descriptors: [reference(32, at: end - 16)],
        table: [entry(buffer, 0, next, link: 1)], at: end - 16),
      Case(
        name: "last entry over the end of memory", fault: .unmapped, descriptors: [reference(32, at: end - 24)],
        table: [entry(buffer, 0, next, link: 1)], at: end - 24),
      Case(name: "first entry over the end of memory", fault: .unmapped, descriptors: [reference(16, at: end - 8)]),
      Case(
        name: "entry behind 2^64", fault: .unmapped, descriptors: [reference(32, at: .max - 16)],
        table: [entry(buffer, 0, next, link: 1)], at: .max - 16),
      Case(
        name: "unmapped buffer", fault: .unmapped, descriptors: [reference(16)], table: [entry(0x5000)]),
      Case(
        name: "second buffer over the end of memory", fault: .unmapped, descriptors: [reference(32)],
        table: [entry(buffer, 12, next, link: 1), entry(end - 3, 4)]),
    ]

  struct Run: CustomTestStringConvertible, Sendable {
    var bad: Case
    var format: RingLayout.Format
    var testDescription: String { "\(format): \(bad.name)" }
  }
  static let runs = cases.flatMap { bad in bad.formats.map { Run(bad: bad, format: $0) } }

  @Test(arguments: runs, [0, RawDescriptor.write]) func faults(_ run: Run, flags: UInt16) throws {
    let memory = try TestMemory(SmallMemory.places)
    let burst = PacketBurst()
    func flagged(_ descriptors: [RawDescriptor]) -> [RawDescriptor] {
      descriptors.map { descriptor in
        var descriptor = descriptor
        descriptor.flags |= flags
        return descriptor
      }
    }
    let raw = Self.ring(
      memory, run.format, flagged(run.bad.descriptors), table: flagged(run.bad.table), at: run.bad.at)
    let image = memory.copy()
    var device = try raw.device(memory, .indirectDescriptors)
    let chain = device.fetchChain(into: SegmentList(), memory: memory.view, outstanding: 0)
    #expect(chain == nil && device.fault == run.bad.fault && device.nextAvail == raw.start)
    device = try raw.device(memory, .indirectDescriptors)
    if flags == 0 {
      #expect(device.dequeueBurst(into: burst, limit: 1, memory: memory.view, headerLength: 12) == 0)
    } else {
      #expect(burst.append([UInt8](repeating: 1, count: 60), headerLength: 12))
      #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 0)
    }
    #expect(device.fault == run.bad.fault && device.nextAvail == raw.start)
    #expect(memory.differences(from: image) == [])
  }

  /// Without the feature, the flag is a fault whatever else is right.
  @Test(arguments: formats) func notNegotiated(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    let raw = Self.ring(memory, format, [Self.reference(16)], table: [Self.entry()])
    let cases: [(Features, RingFault)] = [([], .indirect), (.eventIndex, .indirect), (.indirectDescriptors, .none)]
    for (features, fault) in cases {
      var device = try raw.device(memory, features)
      let chain = device.fetchChain(into: SegmentList(), memory: memory.view, outstanding: 0)
      #expect((chain == nil) == (fault != .none) && device.fault == fault)
    }
  }
}
