import Testing

@testable import Virtio

/// Small rings exhaustively: the device side against a driver side and a model written from the specification.
@Suite struct SplitDeviceRingTests {
  /// Two adjacent regions, and one that ends at the last address that a region can have.
  static let places = [
    TestMemory.Place(start: 0x1_0000, size: 4096),
    TestMemory.Place(start: 0x1_1000, size: 3000),
    TestMemory.Place(start: 0xffff_ffff_ffff_f000, size: 0xfff),
  ]

  /// Where the buffers of a test are, one packet's after the other's.
  enum Placement: CaseIterable {
    case inside, acrossRegions, endOfAddresses

    /// The address of the first of `total` bytes, of which `packet` are the first packet's.
    func address(total: Int, packet: Int, behind ring: RawRing) -> UInt64 {
      switch self {
      case .inside: ring.end
      // The border of the regions is in the middle of the first packet's buffers.
      case .acrossRegions: 0x1_1000 - UInt64(packet / 2)
      case .endOfAddresses: UInt64.max - UInt64(total)
      }
    }
  }

  /// Cuts of a length into one to three descriptors, inside the header and around its end, with empty ones.
  static func cuts(of length: Int, headerLength: Int) -> [[Int]] {
    let points = Set([0, headerLength - 1, headerLength, headerLength + 1, length])
      .filter { $0 >= 0 && $0 <= length }.sorted()
    var found: Set = [[length]]
    for (i, first) in points.enumerated() {
      found.insert([first, length - first])
      for second in points[i...] { found.insert([first, second - first, length - second]) }
    }
    return found.sorted { $0.lexicographicallyPrecedes($1) }
  }

  static func starts(_ size: Int) -> [UInt16] { [5, size == 8 ? 65533 : 65535] }

  @Test(arguments: [1, 2, 4, 8], [10, 12])
  func dequeueCompleteAndGiveBack(size: Int, headerLength: Int) throws {
    let memory = try TestMemory(Self.places)
    let burst = PacketBurst()
    let image = memory.snapshot()
    for start in Self.starts(size) {
      for length in [headerLength, headerLength + 1, headerLength + 5] {
        for cut in Self.cuts(of: length, headerLength: headerLength) where cut.count <= size {
          for placement in Placement.allCases {
            memory.restore(image)
            var ring = RawRing(memory, at: 0x1_0000, size: size, start: start, rotation: length)
            let count = size / cut.count
            var address = placement.address(total: length * count, packet: length, behind: ring)
            var chains: [(head: UInt16, pieces: [RawRing.Piece])] = []
            for _ in 0..<count {
              let pieces = cut.map { part in
                defer { address += UInt64(part) }
                return RawRing.Piece(address: address, length: UInt32(part))
              }
              chains.append((ring.add(pieces), pieces))
            }
            let filled = memory.snapshot()
            for returned in 0...count {
              memory.restore(filled)
              try check(
                ring, RingModel(ring, chains: chains), burst, count: count, returned: returned,
                headerLength: headerLength, "start \(start) cut \(cut) \(placement)")
            }
          }
        }
      }
    }
  }

  /// Takes all, returns some, gives the rest back, takes the rest again, returns it.
  /// An expectation that costs nothing while it holds: there are some hundred thousand of them.
  private func require(
    _ holds: Bool, _ label: @autoclosure () -> String, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    if !holds { Issue.record("\(label())", sourceLocation: sourceLocation) }
  }

  private func check(
    _ ring: RawRing, _ empty: RingModel, _ burst: PacketBurst, count: Int, returned: Int, headerLength: Int,
    _ label: @autoclosure () -> String
  ) throws {
    var model = empty
    var device = try ring.device()
    func take(_ expected: Int) {
      burst.clear()
      require(device.pending() == expected, label())
      let taken = device.dequeueBurst(
        into: burst, limit: 32, memory: ring.memory.view, headerLength: headerLength)
      require(taken == expected && burst.count == expected && device.pending() == 0, label())
      for i in 0..<min(taken, expected) {
        let packet = model.packet(i)
        require(burst[i].outcome == .pending && burst[i].length == packet.count, label())
        require(burst[i].id == model.chains[i].head, label())
        let header = unsafe Array(UnsafeRawBufferPointer(start: burst.arena + burst[i].start, count: headerLength))
        let payload = burst.payload(i, headerLength: headerLength)
        require(header + payload == packet, label())
      }
    }
    take(count)
    require(ring.memory.differences(from: model.image) == [], "taking writes nothing: \(label())")
    device.complete(burst, first: 0, count: returned)
    for _ in 0..<returned { model.use(length: 0) }
    require(ring.memory.differences(from: model.image) == [], "\(returned) of \(count): \(label())")
    device.giveBack(burst, first: returned)
    take(count - returned)
    device.complete(burst, first: 0, count: count - returned)
    for _ in returned..<count { model.use(length: 0) }
    require(ring.memory.differences(from: model.image) == [], "all: \(label())")
    require(device.nextAvail == ring.added && device.nextUsed == ring.added && device.fault == .none, label())
  }

  @Test(arguments: [1, 2, 4, 8], [10, 12])
  func enqueue(size: Int, headerLength: Int) throws {
    let memory = try TestMemory(Self.places)
    let burst = PacketBurst()
    let image = memory.snapshot()
    for start in Self.starts(size) {
      for capacity in [headerLength, headerLength + 9] {
        for cut in Self.cuts(of: capacity, headerLength: headerLength) where cut.count <= size {
          for placement in Placement.allCases {
            for count in Set([size / cut.count, max(size / cut.count - 1, 1)]) {
              memory.restore(image)
              var ring = RawRing(memory, at: 0x1_0000, size: size, start: start, rotation: capacity)
              var address = placement.address(total: capacity * count, packet: capacity, behind: ring)
              var chains: [(head: UInt16, pieces: [RawRing.Piece])] = []
              for _ in 0..<count {
                let pieces = cut.map { part in
                  defer { address += UInt64(part) }
                  return RawRing.Piece(address: address, length: UInt32(part), isWritable: true)
                }
                chains.append((ring.add(pieces), pieces))
              }
              let filled = memory.snapshot()
              // Around one, two and all of the buffers.
              let lengths = Set(
                [1, 2, count].flatMap { [$0 * capacity - 1, $0 * capacity, $0 * capacity + 1] } + [headerLength])
              for length in lengths where length >= headerLength {
                for mergeable in [false, true] {
                  memory.restore(filled)
                  try send(
                    ring, RingModel(ring, chains: chains), burst, payload: length - headerLength,
                    headerLength: headerLength, mergeable: mergeable,
                    "start \(start) cut \(cut) \(count) chains \(placement) length \(length) mergeable \(mergeable)")
                }
              }
            }
          }
        }
      }
    }
  }

  /// Sends three packets of one length and compares memory and outcomes with the model.
  private func send(
    _ ring: RawRing, _ empty: RingModel, _ burst: PacketBurst, payload: Int, headerLength: Int, mergeable: Bool,
    _ label: @autoclosure () -> String
  ) throws {
    var model = empty
    var device = try ring.device()
    burst.clear()
    var expected: [PacketBurst.Outcome] = []
    for i in 0..<3 {
      let bytes = (0..<payload).map { UInt8(truncatingIfNeeded: 7 &* $0 &+ 31 &* i &+ 3) }
      require(
        burst.append(bytes, headerLength: headerLength), label())
      if expected.last != .pending {
        expected.append(model.send(bytes, headerLength: headerLength, mergeable: mergeable))
      }
    }
    let taken = device.enqueueBurst(
      from: burst, first: 0, memory: ring.memory.view, headerLength: headerLength, mergeable: mergeable)
    expected.removeAll { $0 == .pending }
    require(taken == expected.count, label())
    require((0..<taken).map { burst[$0].outcome } == expected, label())
    require((taken..<3).allSatisfy { burst[$0].outcome == .pending }, label())
    // Entries not yet announced may hold anything, as far as the chains reach that the driver waits for.
    let open = ring.usedEntries(from: model.usedPosition, count: model.chains.count)
    require(ring.memory.differences(from: model.image, except: open) == [], label())
    require(device.nextUsed == model.usedPosition && device.nextAvail == model.usedPosition, label())
    require(device.fault == .none, label())
  }

  @Test func packetThatWaitsIsSentWhenBuffersCome() throws {
    let memory = try TestMemory(Self.places)
    var ring = RawRing(memory, at: 0x1_0000, size: 4, start: 65534)
    var device = try ring.device()
    let burst = PacketBurst()
    let bytes = [UInt8](1...20)
    #expect(burst.append(bytes, headerLength: 12))
    for i in 0..<2 as Range<UInt64> {
      ring.add([.init(address: 0x1_0800 + i * 16, length: 15, isWritable: true)])
      #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 0)
      #expect(ring.usedIndex == 65534)
    }
    ring.add([.init(address: 0x1_0820, length: 15, isWritable: true)])
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 1)
    #expect(ring.usedIndex == 1 && burst[0].outcome == .delivered)
    #expect(memory.read(0x1_0800, 12) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0])
    #expect(memory.read(0x1_080c, 3) + memory.read(0x1_0810, 15) + memory.read(0x1_0820, 2) == bytes)
  }

  @Test func notifications() throws {
    let memory = try TestMemory(Self.places)
    let ring = RawRing(memory, at: 0x1_0000, size: 4)
    var device = try ring.device()
    func wantsCall() -> Bool { device.wantsCall() }
    #expect(wantsCall())
    memory.write(ring.avail, UInt16(1))
    #expect(!wantsCall())
    device.setWantsKicks(false)
    #expect(memory.value(ring.used, as: UInt16.self) == 1)
    device.setWantsKicks(true)
    #expect(memory.value(ring.used, as: UInt16.self) == 0)
  }

  @Test func writableDescriptorsBehindAPacketAreLeftAlone() throws {
    let memory = try TestMemory(Self.places)
    var ring = RawRing(memory, at: 0x1_0000, size: 4)
    ring.add([.init(address: 0x1_0800, length: 20), .init(address: 0x1_0900, length: 100, isWritable: true)])
    var device = try ring.device()
    let burst = PacketBurst()
    #expect(device.dequeueBurst(into: burst, limit: 8, memory: memory.view, headerLength: 12) == 1)
    #expect(burst[0].length == 20)
    var model = RingModel(ring, chains: [(0, [])])
    device.complete(burst, first: 0, count: 1)
    model.use(length: 0)
    #expect(memory.differences(from: model.image) == [])
  }

  @Test func limits() throws {
    let memory = try TestMemory(Self.places)
    var ring = RawRing(memory, at: 0x1_0000, size: 64)
    for _ in 0..<64 { ring.add([.init(address: 0x1_0f00, length: 12)]) }
    var device = try ring.device()
    let burst = PacketBurst()
    func take(_ limit: Int) -> Int {
      device.dequeueBurst(into: burst, limit: limit, memory: memory.view, headerLength: 12)
    }
    #expect(take(0) == 0 && take(-1) == 0 && take(5) == 5 && take(100) == 27 && take(100) == 0)
    #expect(device.pending() == 32)
    device.complete(burst, first: 30, count: 2)
    device.complete(burst, first: 32, count: 0)
    #expect(ring.usedIndex == 2)
  }
}
