import Testing

@testable import Virtio

/// What no correct driver writes: each fault by name, on both kinds of ring, with all of memory compared.
@Suite struct SplitDeviceRingFaultTests {
  static let places = [
    TestMemory.Place(start: 0x1_0000, size: 4096),
    TestMemory.Place(start: 0x1_1000, size: 3000),
    TestMemory.Place(start: 0xffff_ffff_ffff_f000, size: 0xfff),
  ]
  /// A good buffer.
  static let buffer: UInt64 = 0x1_0800
  static let none: UInt16 = 0
  static let next: UInt16 = 1
  static let write: UInt16 = 2
  static let indirect: UInt16 = 4

  struct Descriptor {
    var address = SplitDeviceRingFaultTests.buffer
    var length: UInt32 = 16
    var flags: UInt16 = 0
    var next: UInt16 = 0
  }

  /// A corruption: descriptors 1 to 3 of a ring of four, and the head. Flags are those of a ring that the device reads.
  struct Case: CustomTestStringConvertible {
    var name: String
    var fault: RingFault
    var descriptors: [Descriptor]
    var head: UInt16 = 1
    var availAhead: UInt16 = 1
    var testDescription: String { name }
  }

  static let cases: [Case] = [
    Case(name: "available index ahead by 5", fault: .availableIndex, descriptors: [.init()], availAhead: 4),
    Case(name: "available index behind", fault: .availableIndex, descriptors: [.init()], availAhead: 0xfffe),
    Case(name: "head is the size", fault: .descriptorIndex, descriptors: [.init()], head: 4),
    Case(name: "head is 65535", fault: .descriptorIndex, descriptors: [.init()], head: 0xffff),
    Case(name: "next is the size", fault: .descriptorIndex, descriptors: [.init(length: 1, flags: next, next: 4)]),
    Case(name: "next is 65535", fault: .descriptorIndex, descriptors: [.init(length: 1, flags: next, next: 0xffff)]),
    Case(name: "self-loop", fault: .chainLoop, descriptors: [.init(length: 1, flags: next, next: 1)]),
    Case(name: "self-loop of nothing", fault: .chainLoop, descriptors: [.init(length: 0, flags: next, next: 1)]),
    Case(
      name: "loop of three", fault: .chainLoop,
      descriptors: (1...3).map { .init(length: 1, flags: next, next: UInt16($0 % 3 + 1)) }),
    Case(name: "indirect", fault: .indirect, descriptors: [.init(flags: indirect)]),
    Case(name: "indirect and next", fault: .indirect, descriptors: [.init(length: 1, flags: indirect | next, next: 2)]),
    Case(
      name: "indirect in the middle", fault: .indirect,
      descriptors: [.init(length: 1, flags: next, next: 2), .init(flags: indirect)]),
    Case(name: "unmapped", fault: .unmapped, descriptors: [.init(address: 0x5000)]),
    Case(name: "address 0", fault: .unmapped, descriptors: [.init(address: 0)]),
    Case(name: "address 2^64-1", fault: .unmapped, descriptors: [.init(address: .max)]),
    Case(name: "behind 2^64", fault: .unmapped, descriptors: [.init(address: .max - 8)]),
    Case(name: "over the end of memory", fault: .unmapped, descriptors: [.init(address: 0x1_1000 + 3000 - 15)]),
    Case(name: "at the end of memory", fault: .unmapped, descriptors: [.init(address: 0x1_1000 + 3000)]),
    Case(name: "in front of memory", fault: .unmapped, descriptors: [.init(address: 0xffff)]),
    Case(
      name: "second unmapped", fault: .unmapped,
      descriptors: [.init(length: 12, flags: next, next: 2), .init(address: 0x5000, length: 1)]),
    Case(name: "nothing", fault: .shortBuffer, descriptors: [.init(length: 0)]),
    Case(name: "header less 1", fault: .shortBuffer, descriptors: [.init(length: 11)]),
    Case(
      name: "header less 1 in three", fault: .shortBuffer,
      descriptors: [.init(length: 5, flags: next, next: 2), .init(length: 0, flags: next, next: 3), .init(length: 6)]),
  ]

  /// A ring of four, in which chain 0 is in order and the second is corrupt.
  private func ring(_ memory: TestMemory, _ bad: Case, flags: UInt16) throws -> RawRing {
    let ring = RawRing(memory, at: 0x1_0000, size: 4, start: 65535)
    ring.setDescriptor(0, address: 0x1_0900, length: 20, flags: flags, next: 0)
    for (i, descriptor) in bad.descriptors.enumerated() {
      ring.setDescriptor(
        i + 1, address: descriptor.address, length: descriptor.length, flags: descriptor.flags | flags,
        next: descriptor.next)
    }
    ring.setHead(65535, 0)
    ring.setHead(0, bad.head)
    ring.setAvailIndex(0 &+ bad.availAhead)
    return ring
  }

  /// After a fault nothing is read, taken or, but for what was fetched before, written any more.
  private func expectBroken(_ device: inout DeviceRing, _ ring: RawRing, _ fault: RingFault, _ burst: PacketBurst) {
    #expect(device.fault == fault)
    let image = ring.memory.snapshot()
    let count = burst.count
    let position = device.nextAvail
    ring.setAvailIndex(position &+ 1)
    ring.setHead(position, 0)
    var after = ring.memory.snapshot()
    #expect(device.pending() == 0)
    #expect(device.dequeueBurst(into: burst, limit: 32, memory: ring.memory.view, headerLength: 12) == 0)
    #expect(
      device.enqueueBurst(from: burst, first: 0, memory: ring.memory.view, headerLength: 12, mergeable: true) == 0)
    device.setWantsKicks(false)
    #expect(burst.count == count && device.nextAvail == position && device.fault == fault)
    #expect(ring.memory.differences(from: after) == [])
    after = image
    ring.memory.restore(after)
  }

  @Test(arguments: cases) func dequeue(_ bad: Case) throws {
    let memory = try TestMemory(Self.places)
    let ring = try ring(memory, bad, flags: 0)
    let image = memory.snapshot()
    var device = try ring.device()
    let burst = PacketBurst()
    let taken = device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
    let earlier = bad.fault == .availableIndex ? 0 : 1
    #expect(taken == earlier && burst.count == earlier)
    #expect(memory.differences(from: image) == [])
    if earlier == 1 {
      let payload = burst.payload(0, headerLength: 12)
      #expect(payload == memory.read(0x1_090c, 8))
    }
    expectBroken(&device, ring, bad.fault, burst)
    // What was fetched before is finished: nothing stays with a device that serves the ring no more.
    device.complete(burst, first: 0, count: earlier)
    #expect(device.nextUsed == device.nextAvail)
    #expect(ring.usedIndex == device.nextUsed)
  }

  @Test(arguments: cases, [false, true]) func enqueue(_ bad: Case, mergeable: Bool) throws {
    let memory = try TestMemory(Self.places)
    let ring = try ring(memory, bad, flags: Self.write)
    var model = RingModel(ring, chains: [(0, [.init(address: 0x1_0900, length: 20, isWritable: true)])])
    var device = try ring.device()
    let burst = PacketBurst()
    for i in 0..<3 {
      let bytes = [UInt8](repeating: UInt8(i + 1), count: i == 0 ? 8 : 4)
      #expect(burst.append(bytes, headerLength: 12))
    }
    let taken = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: mergeable)
    let earlier = bad.fault == .availableIndex ? 0 : 1
    #expect(taken == earlier)
    if earlier == 1 {
      #expect(model.send([UInt8](repeating: 1, count: 8), headerLength: 12, mergeable: mergeable) == .delivered)
      #expect(burst[0].outcome == .delivered)
    }
    #expect(burst[1].outcome == .pending && burst[2].outcome == .pending)
    #expect(memory.differences(from: model.image, except: ring.usedEntries(from: model.usedPosition, count: 1)) == [])
    expectBroken(&device, ring, bad.fault, burst)
  }

  // MARK: Directions

  @Test func directions() throws {
    func fault(_ flags: [UInt16], enqueue: Bool) throws -> RingFault {
      let memory = try TestMemory(Self.places)
      let ring = RawRing(memory, at: 0x1_0000, size: 4)
      for (i, flag) in flags.enumerated() {
        let isLast = i == flags.count - 1
        ring.setDescriptor(
          i, address: Self.buffer, length: 8, flags: flag | (isLast ? 0 : Self.next), next: UInt16(i + 1))
      }
      ring.setHead(0, 0)
      ring.setAvailIndex(1)
      let image = memory.snapshot()
      var device = try ring.device()
      let burst = PacketBurst()
      if enqueue {
        #expect(burst.append([UInt8](1...12), headerLength: 12))
        #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 0)
      } else {
        #expect(device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12) == 0)
      }
      #expect(memory.differences(from: image) == [])
      return device.fault
    }
    #expect(try fault([Self.none, Self.write, Self.none], enqueue: false) == .descriptorOrder)
    #expect(try fault([Self.write, Self.none], enqueue: false) == .descriptorOrder)
    #expect(try fault([Self.write, Self.write], enqueue: false) == .shortBuffer)
    #expect(try fault([Self.none, Self.none], enqueue: true) == .descriptorOrder)
    #expect(try fault([Self.write, Self.none, Self.write], enqueue: true) == .descriptorOrder)
    #expect(try fault([Self.none, Self.write, Self.write], enqueue: true) == .descriptorOrder)
  }

  /// A range that the device may only read, or only write, is not there for the other.
  @Test func permissions() throws {
    let memory = try TestMemory([
      .init(start: 0x1_0000, size: 4096), .init(start: 0x2_0000, size: 4096), .init(start: 0x3_0000, size: 4096),
    ])
    let ranges = memory.guest.addressMap.ranges
    let map = try AddressMap(ranges: [ranges[0], ranges[1].limited(to: .read), ranges[2].limited(to: .write)])
    func run(_ address: UInt64, enqueue: Bool) throws -> RingFault {
      var ring = RawRing(memory, at: 0x1_0000, size: 4)
      ring.add([.init(address: address, length: 20, isWritable: enqueue)])
      let image = memory.snapshot()
      var device = DeviceRing(try ring.area(map.view), features: [], nextAvail: 0, nextUsed: 0)
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
    // The parts of a ring need the access that the device makes to them.
    for (part, address) in [("used", 0x2_0000 as UInt64), ("avail", 0x3_0000), ("descriptor", 0x3_0000)] {
      #expect(throws: VirtioError.self, "\(part)") {
        _ = try SplitRingArea(
          size: 4, descriptor: part == "descriptor" ? address : 0x1_0000,
          avail: part == "avail" ? address : 0x1_0100, used: part == "used" ? address : 0x1_0200, memory: map.view)
      }
    }
    withExtendedLifetime(map) {}
  }

  // MARK: Lengths

  /// An empty descriptor touches nothing, so its address does not matter.
  @Test(arguments: [0, 0x5000, UInt64.max]) func emptyDescriptorsAnywhere(address: UInt64) throws {
    let memory = try TestMemory(Self.places)
    let burst = PacketBurst()
    var ring = RawRing(memory, at: 0x1_0000, size: 4)
    ring.add([
      .init(address: address, length: 0), .init(address: Self.buffer, length: 13), .init(address: address, length: 0),
    ])
    var device = try ring.device()
    #expect(device.dequeueBurst(into: burst, limit: 1, memory: memory.view, headerLength: 12) == 1)
    #expect(device.fault == .none && burst[0].length == 13)

    burst.clear()
    #expect(burst.append([1, 2], headerLength: 12))
    ring = RawRing(memory, at: 0x1_0000, size: 4)
    let pieces: [RawRing.Piece] = [
      .init(address: address, length: 0, isWritable: true), .init(address: Self.buffer, length: 13, isWritable: true),
      .init(address: Self.buffer + 13, length: 1, isWritable: true),
    ]
    let head = ring.add(pieces)
    var model = RingModel(ring, chains: [(head, Array(pieces[1...]))])
    device = try ring.device()
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: false) == 1)
    #expect(model.send([1, 2], headerLength: 12, mergeable: false) == .delivered)
    #expect(memory.differences(from: model.image) == [])
  }

  /// A header in twelve pieces, one byte more, and not enough (CVE-2022-2132).
  @Test func oneByteDescriptors() throws {
    for (count, fault) in [(11, RingFault.shortBuffer), (12, .none), (13, .none)] {
      let memory = try TestMemory(Self.places)
      var ring = RawRing(memory, at: 0x1_0000, size: 16)
      ring.add((0..<count).map { .init(address: Self.buffer + UInt64(2 * $0), length: 1) })
      var device = try ring.device()
      let burst = PacketBurst()
      let taken = device.dequeueBurst(into: burst, limit: 1, memory: memory.view, headerLength: 12)
      #expect(device.fault == fault && taken == (fault == .none ? 1 : 0))
      if taken == 1 { #expect(burst[0].length == count) }
    }
    let memory = try TestMemory(Self.places)
    var ring = RawRing(memory, at: 0x1_0000, size: 16)
    let pieces = (0..<13).map { RawRing.Piece(address: Self.buffer + UInt64(2 * $0), length: 1, isWritable: true) }
    var model = RingModel(ring, chains: [(ring.add(pieces), pieces)])
    model.image = memory.snapshot()
    var device = try ring.device()
    let burst = PacketBurst()
    #expect(burst.append([9], headerLength: 12))
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 1)
    #expect(model.send([9], headerLength: 12, mergeable: true) == .delivered)
    #expect(memory.differences(from: model.image) == [])
  }

  /// The longest packet, one byte more, and lengths that no memory has: passed over, returned, and the ring goes on.
  @Test func longestPacket() throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 4096), .init(start: 0x10_0000, size: 66000)])
    var ring = RawRing(memory, at: 0x1_0000, size: 16)
    let longest = UInt32(PacketBurst.maxLength)
    ring.add([.init(address: 0x10_0000, length: longest)])
    ring.add([.init(address: 0x10_0000, length: longest + 1)])
    ring.add([.init(address: 0x10_0000, length: longest), .init(address: 0x5000, length: 1)])
    ring.add([.init(address: 0x5000, length: .max)])
    ring.add([
      .init(address: 0x10_0000, length: 12), .init(address: 0x5000, length: .max), .init(address: 0, length: 1),
    ])
    ring.add([.init(address: 0x10_0000, length: 13)])
    var device = try ring.device()
    let burst = PacketBurst()
    #expect(device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12) == 6)
    #expect((0..<6).map { burst[$0].outcome } == [.pending] + Array(repeating: .oversized, count: 4) + [.pending])
    #expect((0..<6).map { burst[$0].length } == [Int(longest), 0, 0, 0, 0, 13])
    #expect(
      burst.payload(0, headerLength: 12) == memory.read(0x10_000c, Int(longest) - 12))
    #expect(burst.payload(1, headerLength: 12).count == 0)
    device.complete(burst, first: 0, count: 6)
    #expect(ring.usedIndex == 6 && device.fault == .none)

    // Sent on, they are passed over also when there is no buffer, and sending again does not revive them.
    var receive = RawRing(memory, at: 0x1_0800, size: 4)
    var to = try receive.device()
    #expect(to.enqueueBurst(from: burst, first: 1, memory: memory.view, headerLength: 12, mergeable: false) == 4)
    burst.rearm()
    #expect((1..<5).allSatisfy { burst[$0].outcome == .oversized })
    receive.add([.init(address: 0x1_0c00, length: 100, isWritable: true)])
    #expect(to.enqueueBurst(from: burst, first: 1, memory: memory.view, headerLength: 12, mergeable: false) == 5)
    #expect(receive.usedIndex == 1 && burst[5].outcome == .delivered)
  }

  /// A burst whose arena is full leaves packets for the next one, and none is lost or torn.
  @Test func fullArena() throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 4096), .init(start: 0x10_0000, size: 66000)])
    var ring = RawRing(memory, at: 0x1_0000, size: 32)
    for i in 0..<32 as Range<UInt32> { ring.add([.init(address: 0x10_0000 + UInt64(i), length: 40000 + i)]) }
    var device = try ring.device()
    let burst = PacketBurst()
    var lengths: [Int] = []
    var rounds = 0
    while device.pending() > 0 && rounds < 32 {
      burst.clear()
      let taken = device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
      #expect(taken > 1 && taken < 32)
      for i in 0..<taken {
        let bytes = burst.payload(i, headerLength: 12)
        #expect(bytes == memory.read(0x10_000c + UInt64(lengths.count), 40000 + lengths.count - 12))
        lengths.append(burst[i].length)
      }
      device.complete(burst, first: 0, count: taken)
      rounds += 1
    }
    #expect(lengths == (0..<32).map { 40000 + $0 } && ring.usedIndex == 32 && device.fault == .none)
  }

  /// A packet in as many pieces as it has bytes: chains may be that long (virtio 1.2, §2.7.5).
  @Test func manySegments() throws {
    let count = 2000
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x2_0000)])
    let ring = RawRing(memory, at: 0x1_0000, size: 2048)
    for i in 0..<count {
      ring.setDescriptor(
        i, address: 0x2_8000 + UInt64(2 * i), length: 1, flags: i == count - 1 ? 2 : 3, next: UInt16(i + 1))
    }
    ring.setHead(0, 0)
    ring.setAvailIndex(1)
    var device = try ring.device()
    let burst = PacketBurst()
    #expect(burst.append([UInt8](repeating: 7, count: count - 12), headerLength: 12))
    let sent = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: false)
    #expect(sent == 1 && device.fault == .none)
    #expect((12..<count).allSatisfy { memory.value(0x2_8000 + UInt64(2 * $0), as: UInt8.self) == 7 })
  }
}
