import Testing

@testable import Virtio

/// What no correct device writes: each fault by name, and anything at all at random. A driver that finds a fault is as
/// it was before.
@Suite struct DriverRingFaultTests {
  private static let formats = RingLayout.Format.allCases
  private static let bothOrders: [Features] = [[], .inOrder]

  private static func fault(_ driver: inout DriverRing) -> DriverRing.DeviceFault? {
    do throws(DriverRing.DeviceFault) {
      _ = try driver.collect()
      return nil
    } catch { return error }
  }

  /// Two chains of two descriptors in a ring of four, which a device has fetched.
  private struct Scene {
    var bench: DriverBench
    var device: RawDevice
    var chains: [RawChain]

    init(_ format: RingLayout.Format, _ features: Features) throws {
      let memory = try TestMemory(SmallMemory.places)
      let ring = RingCase(format: format, size: 4)
      bench = try DriverBench(memory, ring, start: format == .split ? 65535 : 3, features)
      device = RawDevice(bench.raw)
      for _ in 0..<2 {
        _ = bench.driver.add([
          .init(address: 0, length: 8, isWritable: false), .init(address: 0, length: 16, isWritable: true),
        ])
      }
      _ = bench.driver.publish()
      chains = []
      while let chain = device.fetch() { chains.append(chain) }
    }

    /// What the driver finds; if it is a fault, nothing has changed, and it is found again.
    mutating func fault() throws -> DriverRing.DeviceFault? {
      let image = bench.memory.copy()
      let (free, outstanding) = (bench.driver.freeCount, bench.driver.outstanding)
      let found = DriverRingFaultTests.fault(&bench.driver)
      if found != nil {
        let again = DriverRingFaultTests.fault(&bench.driver)
        try require(again == found, "found again")
        try require(bench.driver.freeCount == free && bench.driver.outstanding == outstanding, "nothing is taken")
        try requireSame(bench.memory, image, "nothing is written")
      }
      return found
    }
  }

  /// A used entry with an id and a length of the device's choice.
  private func returning(
    _ format: RingLayout.Format, _ features: Features, _ entry: (Scene) -> (id: UInt32, length: UInt32)
  ) throws -> DriverRing.DeviceFault? {
    var scene = try Scene(format, features)
    let (id, length) = entry(scene)
    switch format {
    case .split:
      scene.bench.raw.setUsedEntry(65535, id: id, length: length)
      scene.bench.raw.setUsedIndex(0)
    case .packed: scene.device.use(id: UInt16(truncatingIfNeeded: id), length: length, steps: 2)
    }
    return try scene.fault()
  }

  @Test(arguments: formats, bothOrders) func lengths(_ format: RingLayout.Format, features: Features) throws {
    for length in [0, 1, 16] as [UInt32] {
      #expect(try returning(format, features) { (UInt32($0.chains[0].id), length) } == nil)
    }
    for length in [17, 24, 0x8000_0000, .max] as [UInt32] {
      #expect(try returning(format, features) { (UInt32($0.chains[0].id), length) } == .tooLong(length))
    }
  }

  @Test(arguments: formats, bothOrders) func ids(_ format: RingLayout.Format, features: Features) throws {
    let scene = try Scene(format, features)
    let known = scene.chains.map { UInt32($0.id) }
    let wild: [UInt32] = (0..<8).map { $0 } + [0x7fff, 0x8000, 0xffff] + (format == .split ? [0x1_0000, .max] : [])
    for id in wild where !known.contains(id) {
      #expect(try returning(format, features) { _ in (id, 0) } == .unknownHead(id))
    }
    if format == .split {
      // Right, but for bits that an id does not have.
      #expect(
        try returning(format, features) { (UInt32($0.chains[0].id) | 0x1_0000, 0) }
          == .unknownHead(known[0] | 0x1_0000))
    }
  }

  @Test(arguments: formats, bothOrders) func returnedTwice(_ format: RingLayout.Format, features: Features) throws {
    var scene = try Scene(format, features)
    scene.device.use(scene.chains[0], length: 1)
    let first = try scene.bench.driver.collect()
    #expect(first?.head == scene.chains[0].id)
    scene.device.use(scene.chains[0], length: 1)
    let fault = try scene.fault()
    #expect(fault == .unknownHead(UInt32(scene.chains[0].id)))
    // A device that goes on correctly is understood again.
    scene.device = RawDevice(scene.bench.raw)
    scene.device.use(scene.chains[0], length: 1)
    scene.device.use(scene.chains[1], length: 2)
    let second = try scene.bench.driver.collect()
    #expect(second?.head == scene.chains[1].id && second?.length == 2 && scene.bench.driver.freeCount == 4)
  }

  /// What was added and not announced is not the device's to return.
  @Test(arguments: formats, bothOrders) func notAnnounced(_ format: RingLayout.Format, features: Features) throws {
    let memory = try TestMemory(SmallMemory.places)
    let ring = RingCase(format: format, size: 4)
    var bench = try DriverBench(memory, ring, start: ring.start, features)
    var device = RawDevice(bench.raw)
    let ids = (0..<3).compactMap { n -> UInt16? in
      let id = bench.driver.add([.init(address: 0, length: 8, isWritable: true)])
      if n == 1 { _ = bench.driver.publish() }
      return id
    }
    device.use(id: ids[2], length: 0, steps: 1)
    #expect(Self.fault(&bench.driver) == .unknownHead(UInt32(ids[2])))
    _ = bench.driver.publish()
    device = RawDevice(bench.raw)
    for id in ids { device.use(id: id, length: 3, steps: 1) }
    for id in ids {
      let taken = try bench.driver.collect()
      #expect(taken?.head == id && taken?.length == 3)
    }
  }

  /// The used index of a split ring says at most what was announced.
  @Test(arguments: bothOrders) func usedIndex(features: Features) throws {
    for index in 0...UInt16.max {
      // From position 65535 on, two chains are with the device.
      if [65535, 0, 1].contains(index) || index > 10 && index % 257 != 0 && index < 65530 { continue }
      var scene = try Scene(.split, features)
      scene.bench.raw.setUsedEntry(65535, id: UInt32(scene.chains[0].id), length: 0)
      scene.bench.raw.setUsedIndex(index)
      let fault = try scene.fault()
      #expect(fault == .usedIndex, "\(index)")
    }
  }

  /// In a packed ring, flags of the other lap, or of one side only, say nothing.
  @Test(arguments: bothOrders) func flagsOfAnotherLap(features: Features) throws {
    for bits in [0, RawDescriptor.avail, RawDescriptor.used, RawRing.bits] {
      var scene = try Scene(.packed, features)
      // The two sides are at descriptor 3 of a lap with wrap counter 0.
      var descriptor = scene.bench.raw.descriptor(3)
      descriptor.link = scene.chains[0].id
      descriptor.flags = bits
      scene.bench.raw.setDescriptor(3, descriptor)
      let taken = try scene.bench.driver.collect()
      #expect((taken != nil) == (bits == 0), "\(bits)")
    }
  }

  /// Without the write flag, a length in a packed ring means nothing (virtio 1.2, §2.8.5).
  @Test(arguments: bothOrders) func lengthWithoutWriteFlag(features: Features) throws {
    for length in [0, 16, 17, .max] as [UInt32] {
      var scene = try Scene(.packed, features)
      scene.bench.raw.setDescriptor(
        3, RawDescriptor(address: 0, length: length, flags: 0, link: scene.chains[0].id))
      let taken = try scene.bench.driver.collect()
      #expect(taken?.head == scene.chains[0].id && taken?.length == 0)
    }
  }

  /// Anything at all: what the driver takes back was with the device, once, and no longer than it can be; what it
  /// writes is where a driver writes.
  @Test(arguments: formats, DriverBench.features) func hostileDevice(
    _ format: RingLayout.Format, features: Features
  ) throws {
    let memory = try TestMemory(SmallMemory.places)
    let ring = RingCase(format: format, size: 8)
    var random = SplitMix(seed: 7)
    var bench = try DriverBench(memory, ring, start: format == .split ? 65000 : 0x8003, features)
    let raw = bench.raw
    let image = memory.copy()
    var held: [UInt16: RawChain] = [:]
    var announced: Set<UInt16> = []
    var position = raw.start
    var taken = 0
    var faults = 0
    for _ in 0..<8000 {
      switch random.next() % 4 {
      case 0, 1:
        let count = Int(random.next() % 4)
        let isIndirect = random.next() % 2 == 0
        let pieces = DriverBench.pieces(count, readable: Int(random.next() % 3), seed: Int(random.next() % 100))
        if let id = bench.driver.add(pieces, isIndirect: isIndirect) {
          try require(held[id] == nil, "given twice")
          held[id] = RawChain(id: id, descriptors: isIndirect ? 1 : count, pieces: DriverBench.raw(pieces))
        }
      case 2:
        _ = bench.driver.publish()
        announced = Set(held.keys)
      default:
        // What the device writes: mostly ids and lengths that may be right, at the place where the driver looks.
        let id = UInt32(random.next() % (random.next() % 8 == 0 ? 0x1_0004 : 8))
        let length = UInt32(random.next() % (random.next() % 8 == 0 ? 0x1_0000_0000 : 2))
        switch format {
        case .split:
          raw.setUsedEntry(position, id: id, length: length)
          raw.setUsedIndex(random.next() % 16 == 0 ? UInt16(random.next() % 0x1_0000) : position &+ 1)
        case .packed:
          let flags = random.next() % 8 == 0 ? UInt16(random.next() % 0x1_0000) : raw.usedBits(position) | 2
          raw.setDescriptor(
            raw.index(position),
            RawDescriptor(address: random.next(), length: length, flags: flags, link: UInt16(truncatingIfNeeded: id)))
        }
        image.assign(memory.bytes)
        collecting: while true {
          let found: (head: UInt16, length: UInt32)?
          do throws(DriverRing.DeviceFault) {
            found = try bench.driver.collect()
          } catch {
            faults += 1
            break collecting
          }
          guard let (head, length) = found else { break }
          guard announced.remove(head) != nil, let chain = held.removeValue(forKey: head) else {
            throw Unmet(description: "\(head) is not with the device")
          }
          try require(Int(length) <= chain.writable, "\(length) of \(chain)")
          position = raw.next(position, by: raw.steps(chain))
          taken += 1
        }
        try requireSame(memory, image, "collecting writes nothing")
      }
      try require(bench.driver.outstanding == held.count, "count")
    }
    #expect(taken > 100 && faults > 100, "\(taken) chains, \(faults) faults")
  }
}
