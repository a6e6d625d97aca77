import MemoryTestSupport
import Testing

@testable import Virtio

/// What rings note of their writes, against what their driver finds used and against memory before and after.
@Suite struct RingLogTests {
  /// How writes to the device area are noted.
  enum Area: CaseIterable { case inPlace, outsideOfMemory }

  /// A large ring, whose parts are several pages, and a driver with buffers that cross the borders of regions.
  private struct Bench {
    /// The first page that has nothing of the ring.
    static let buffers: UInt64 = 0x1_7000
    static let ends: [Range<UInt64>] = [buffers..<0x1_d000, 0x4_0000..<0x4_6000]
    static let elsewhere: UInt64 = 0x8_0abc

    let memory: TestMemory
    let raw: RawRing
    var driver: RawDriver
    var device: DeviceRing
    let log: TestLog
    let usedLog: UInt64?
    let hasEventIndex: Bool
    var random: SplitMix
    private var image: GuestBytes

    init(_ format: RingLayout.Format, _ features: Features, seed: UInt64, usedLog: (RawRing) -> UInt64?) throws {
      memory = try TestMemory([
        .init(start: 0x1_0000, size: 0x8000), .init(start: 0x1_8000, size: 0x5000),
        .init(start: 0x4_0000, size: 0x6000),
      ])
      let ring = RingCase(format: format, size: 1024)
      raw = RawRing.fresh(memory, ring, start: format == .split ? 65000 : 1000)
      driver = RawDriver(raw)
      device = try raw.device(memory, features.union(.indirectDescriptors))
      log = try TestLog(upTo: 0x10_0000)
      self.usedLog = usedLog(raw)
      device.log = RingLog(try log.open(), memory: memory.guest, used: self.usedLog)
      hasEventIndex = features.contains(.eventIndex)
      random = SplitMix(seed: seed)
      image = memory.copy()
    }

    private var outstanding: Int { driver.outstanding.values.reduce(0) { $0 + $1.descriptors } }

    /// Makes some chains available.
    mutating func add(isWritable: Bool) {
      for _ in 0..<Int.random(in: 0...10, using: &random) {
        var pieces: [RawPiece] = []
        for _ in 0..<Int.random(in: 1...3, using: &random) {
          let place = Self.ends[Int.random(in: 0...1, using: &random)]
          let length = UInt64.random(in: 12...5000, using: &random)
          let start = UInt64.random(in: place.lowerBound...place.upperBound - length, using: &random)
          pieces.append(RawPiece(address: start, length: UInt32(length), isWritable: isWritable))
        }
        guard outstanding + pieces.count <= raw.size else { return }
        driver.add(pieces)
      }
    }

    /// The device is about to work.
    mutating func begin() { image.assign(memory.bytes) }

    /// The pages that are not as they were, by address.
    func changed() -> Set<UInt64> {
      var pages: Set<UInt64> = []
      for place in memory.places {
        for page in place.start / 4096..<place.end / 4096
        where memory.bytes.read(page * 4096, 4096) != image.read(page * 4096, 4096) {
          pages.insert(page)
        }
      }
      return pages
    }

    /// The pages that the device area has in memory.
    var areaPages: Set<UInt64> {
      TestLog.pages(of: raw.used, length: raw.format == .split ? 6 + 8 * raw.size : 4)
    }

    private func area(_ offset: Int, _ length: Int) -> Set<UInt64> {
      usedLog.map { TestLog.pages(of: $0 + UInt64(offset), length: length) } ?? []
    }

    /// Takes back what was used: what the device has written for it, said by the driver.
    mutating func collect() -> Set<UInt64> {
      var pages: Set<UInt64> = []
      var position = driver.nextUsed
      while let (chain, length, _) = driver.collect() {
        if raw.format == .split {
          pages.formUnion(area(4 + 8 * raw.index(position), 8).union(area(2, 2)))
        } else {
          // Those in between too.
          for step in 0..<chain.descriptors {
            let address = raw.descriptorAddress(raw.index(raw.next(position, by: step)))
            pages.formUnion(TestLog.pages(of: address, length: 16))
          }
        }
        var rest = Int(length)
        for piece in chain.pieces where piece.isWritable {
          pages.formUnion(TestLog.pages(of: piece.address, length: min(rest, Int(piece.length))))
          rest -= min(rest, Int(piece.length))
        }
        position = raw.next(position, by: raw.steps(chain))
      }
      return pages
    }

    /// What asking for kicks, or to do without, writes.
    mutating func wantKicks(_ wanted: Bool) -> Set<UInt64> {
      device.setWantsKicks(wanted)
      if raw.format == .packed { return area(0, 4) }
      if !hasEventIndex { return area(0, 2) }
      return wanted ? area(4 + 8 * raw.size, 2) : []
    }

    /// Gives the driver packets of any length.
    mutating func give(_ burst: PacketBurst) {
      burst.clear()
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        let length = Int.random(in: 1...6000, using: &random)
        let value = UInt8.random(in: 0...255, using: &random)
        _ = burst.append((0..<length).map { value &+ UInt8(truncatingIfNeeded: $0) }, headerLength: 12)
      }
      _ = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true)
    }

    /// Takes packets from the driver.
    mutating func take(_ burst: PacketBurst) {
      burst.clear()
      let limit = Int.random(in: 1...32, using: &random)
      let count = device.dequeueBurst(into: burst, limit: limit, memory: memory.view, headerLength: 12)
      device.complete(burst, first: 0, count: count)
    }
  }

  @Test(arguments: RingLayout.Format.allCases, Area.allCases)
  func everyWriteIsNotedAndNothingElse(_ format: RingLayout.Format, _ area: Area) throws {
    let burst = PacketBurst()
    for (seed, features) in [[], [.eventIndex]].enumerated() as EnumeratedSequence<[Features]> {
      for isReceive in [true, false] {
        var bench = try Bench(format, features, seed: UInt64(seed)) { ring in
          area == .inPlace ? ring.used : Bench.elsewhere
        }
        var total = 0
        for step in 0..<120 {
          bench.add(isWritable: isReceive)
          bench.begin()
          if isReceive { bench.give(burst) } else { bench.take(burst) }
          var expected: Set<UInt64> = []
          if step % 3 == 0 { expected = bench.wantKicks(step % 2 == 0) }
          let changed = bench.changed()
          expected.formUnion(bench.collect())
          let noted = bench.log.take()
          #expect(noted == expected)
          #expect(changed.subtracting(area == .inPlace ? [] : bench.areaPages).isSubset(of: noted))
          total += changed.count
        }
        try #require(bench.device.fault == .none && total > 100)
      }
    }
  }

  /// The control: what is not noted shows.
  @Test(arguments: RingLayout.Format.allCases)
  func aDeviceAreaThatIsNotNotedIsMissed(_ format: RingLayout.Format) throws {
    var bench = try Bench(format, [], seed: 3) { _ in nil }
    let burst = PacketBurst()
    bench.add(isWritable: true)
    bench.add(isWritable: true)
    bench.begin()
    bench.give(burst)
    _ = bench.wantKicks(false)
    let missed = bench.changed().subtracting(bench.log.take())
    #expect(!missed.isEmpty && missed.isSubset(of: bench.areaPages))
    bench.device.log = nil
    bench.add(isWritable: true)
    bench.begin()
    bench.give(burst)
    #expect(!bench.changed().isEmpty && bench.log.take() == [])
  }

  @Test func whatIsInNoRegionIsNotNoted() throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x1000), .init(start: 0x8_0000, size: 0x1000)])
    let test = try TestLog(upTo: 0x10_0000)
    let log = RingLog(try test.open(), memory: memory.guest, used: nil)
    var view = memory.view
    for (address, length) in [(0x1_0000, 0x1000), (0x8_0fff, 1), (0x8_0123, 0x100)] as [(UInt64, Int)] {
      guard let host = unsafe view.contiguous(at: address, length: length, for: .write) else { continue }
      unsafe log.note(host, length: length)
      #expect(test.take() == [address / 4096])
      unsafe log.note(host, length: 0)
      unsafe log.note(host, length: -1)
    }
    let own = UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 16)
    defer { unsafe own.deallocate() }
    unsafe log.note(own, length: 16)
    log.noteUsed(0..<4)
    #expect(test.take() == [])
  }
}
