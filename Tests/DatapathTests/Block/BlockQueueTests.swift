import Glibc
import Testing
import VDPA
import Virtio

@testable import Datapath

/// What requests do, and which ones are refused how (virtio 1.2, §5.2.6).
@Suite struct BlockQueueTests {
  private typealias Outcome = BlockQueueUnderTest.Outcome
  private let done = BlockQueueUnderTest.done

  @Test("What was written is read, anywhere on the device", arguments: IOUnderTest.allCases)
  func data(way: IOUnderTest) throws {
    for place in TestFile.Place.allCases {
      let file = try TestFile(sectors: 100, in: place)
      let bench = try BlockQueueUnderTest(file) { try way.make($0) }
      for (sector, sectors) in [(0, 1), (99, 1), (0, 100), (37, 8), (98, 2)] {
        let data = pattern(sectors * 512, seed: UInt8(sector))
        #expect(try bench.write(UInt64(sector), data) == done(.ok))
        #expect(try file.read(at: sector * 512, count: data.count) == data)
        #expect(
          try bench.read(UInt64(sector), sectors: sectors)
            == Outcome(status: .ok, written: data.count + 1, data: data))
      }
      #expect(try bench.flush() == done(.ok))
      #expect(bench.queue.inFlight == 0 && bench.queue.underWay == 0 && bench.told.all.isEmpty)
    }
  }

  @Test("Transfers of nothing are done, also at the end of the device")
  func nothing() throws {
    let bench = try BlockQueueUnderTest(try TestFile(sectors: 4)) { try IOUnderTest.threads.make($0) }
    for sector in [0, 3, 4] as [UInt64] {
      #expect(try bench.read(sector, sectors: 0) == done(.ok))
      #expect(try bench.write(sector, []) == done(.ok))
    }
    #expect(try bench.read(5, sectors: 0) == done(.ioError))
    #expect(try bench.write(.max, []) == done(.ioError))
  }

  @Test("Beyond the end of the device, also by sums that wrap around, nothing is read, written, zeroed or discarded")
  func range() throws {
    let file = try TestFile(sectors: 4)
    let content = pattern(2048)
    try file.write(content)
    let bench = try BlockQueueUnderTest(file) { try ScriptedIO(over: IOUnderTest.threads.make($0)) }
    let beyond: [(UInt64, Int)] = [
      (4, 1), (3, 2), (0, 5), (5, 1), (.max, 1), (.max - 1, 2), (.max / 512, 1), (.max / 512 + 1, 1), (1 << 55, 1),
      (1 << 63, 8), (.max - 7, 8),
    ]
    for (sector, sectors) in beyond {
      let read = try bench.read(sector, sectors: sectors)
      #expect(read.status == .ioError && read.written == 0)
      #expect(read.data == Array(repeating: BlockQueueUnderTest.canary, count: sectors * 512))
      #expect(try bench.write(sector, pattern(sectors * 512)) == done(.ioError))
      for kind in [BlockRequest.Kind.discard, .writeZeroes] {
        let segment = BlockSegment(sector: sector, count: UInt32(sectors))
        #expect(try bench.segments(kind, [segment]) == done(.ioError))
        // A bad segment behind a good one: neither is touched.
        #expect(try bench.segments(kind, [BlockSegment(sector: 0, count: 1), segment]) == done(.ioError))
      }
    }
    #expect(try file.read(count: 4096) == content)
    #expect((bench.io as? ScriptedIO)?.operations.isEmpty == true)
    #expect(bench.told.all.count == 1 && bench.told.all[0].contains("which has 4 sectors"), "\(bench.told.all)")
  }

  @Test("Data that is not a number of sectors is refused")
  func odd() throws {
    let file = try TestFile(sectors: 4)
    let bench = try BlockQueueUnderTest(file) { try IOUnderTest.threads.make($0) }
    for count in [1, 20, 256, 511, 513, 768, 1023] {
      let read = try bench.run(BlockRequest(.read).encoded, room: count + 1)
      #expect(read.status == .ioError && read.written == 0)
      #expect(try bench.write(0, pattern(count)) == done(.ioError))
    }
    #expect(try file.read(count: 2048) == Array(repeating: 0, count: 2048))
  }

  @Test("Requests that the device does not know are unsupported, whatever comes with them")
  func unknown() throws {
    let bench = try BlockQueueUnderTest(try TestFile()) { try ScriptedIO(over: IOUnderTest.threads.make($0)) }
    // The zoned ones, lifetime, secure erase, SCSI commands, barriers, and numbers that nobody has used.
    for number: UInt32 in [2, 3, 5, 6, 7, 9, 10, 12, 14, 15, 16, 18, 20, 22, 24, 26, 0x8000_0000, 0x8000_0001, .max] {
      let request = BlockRequest(BlockRequest.Kind(rawValue: number), sector: .max).encoded
      #expect(try bench.run(request + pattern(100), room: 1) == done(.unsupported), "\(number)")
      let outcome = try bench.run(request, room: 100)
      #expect(outcome.status == .unsupported && outcome.written == 0)
    }
    #expect((bench.io as? ScriptedIO)?.operations.isEmpty == true)
  }

  @Test("Reserved bytes and the sector of requests without one mean nothing")
  func reserved() throws {
    let file = try TestFile(sectors: 4)
    try file.write(pattern(2048))
    let bench = try BlockQueueUnderTest(file) { try IOUnderTest.threads.make($0) }
    var request = BlockRequest(.read, sector: 1).encoded
    request.replaceSubrange(4..<8, with: [0xff, 0xff, 0xff, 0xff])
    #expect(try bench.run(request, room: 513).data == Array(pattern(2048)[512..<1024]))
    #expect(try bench.run(BlockRequest(.flush, sector: .max).encoded, room: 1) == done(.ok))
    #expect(try bench.run(BlockRequest(.getID, sector: .max).encoded, room: 21).status == .ok)
    let segment = BlockSegment(sector: 0, count: 1).encoded
    #expect(try bench.run(BlockRequest(.writeZeroes, sector: .max).encoded + segment, room: 1) == done(.ok))
    // What surplus there is in front of a status stays as it is.
    let surplus = try bench.run(BlockRequest(.flush).encoded + pattern(7), room: 4)
    #expect(surplus == Outcome(status: .ok, written: 0, data: Array(repeating: BlockQueueUnderTest.canary, count: 3)))
  }

  @Test("A read-only device writes nothing and has nothing to flush", arguments: IOUnderTest.allCases)
  func readOnly(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 4)
    try file.write(pattern(2048))
    let bench = try BlockQueueUnderTest(file, isReadOnly: true) { try ScriptedIO(over: way.make($0)) }
    #expect(try bench.write(0, Array(repeating: 0, count: 512)) == done(.ioError))
    for kind in [BlockRequest.Kind.discard, .writeZeroes] {
      #expect(try bench.segments(kind, [BlockSegment(sector: 0, count: 1)]) == done(.ioError))
    }
    #expect(try bench.flush() == done(.ok))
    #expect(try bench.read(0, sectors: 4).data == pattern(2048))
    #expect((bench.io as? ScriptedIO)?.operations.map(\.kind) == [.read])
    #expect(bench.told.all.count == 1 && bench.told.all[0].contains("the device is read-only"))
  }

  @Test(
    "What decides about a request is fetched once, and its data not at all: a guest that changes it later is too late")
  func fetchedOnce() throws {
    let bench = try BlockQueueUnderTest(try TestFile(sectors: 64)) { try IOUnderTest.threads.make($0) }
    let segments = (0..<3).map { BlockSegment(sector: $0, count: 1).encoded }.flatMap(\.self)
    for (kind, more, fetched) in [
      (.read, [], 16), (.write, pattern(512), 16), (.flush, [], 16), (.getID, [], 16), (.discard, segments, 64),
      (.writeZeroes, segments, 64), (BlockRequest.Kind(rawValue: 99), pattern(64), 16),
    ] as [(BlockRequest.Kind, [UInt8], Int)] {
      // The header is the first that the arena gives away.
      _ = try bench.run(BlockRequest(kind).encoded + more, room: 513)
      #expect(bench.arena.copies == Dictionary(uniqueKeysWithValues: (0..<fetched).map { ($0, 1) }), "\(kind)")
    }
  }

  // MARK: Segments

  @Test(
    "Zeroes are read where zeroes were written, with space freed or kept, on every kind of file",
    arguments: IOUnderTest.allCases)
  func zeroes(way: IOUnderTest) throws {
    for place in TestFile.Place.allCases {
      for flags in [[], .unmap] as [BlockSegment.Flags] {
        let file = try TestFile(sectors: 8192, in: place)
        let bench = try BlockQueueUnderTest(file) { try way.make($0) }
        var content = pattern(8192 * 512)
        try file.write(content)
        try #require(try bench.flush().status == .ok)
        let full = file.allocated
        let segments = [(8, 8), (17, 3), (40, 0), (100, 5000), (8191, 1)].map {
          BlockSegment(sector: $0, count: $1, flags: flags)
        }
        #expect(try bench.segments(.writeZeroes, segments) == done(.ok))
        for segment in segments {
          let start = Int(segment.sector) * 512
          content.replaceSubrange(
            start..<start + Int(segment.count) * 512, with: Array(repeating: 0, count: Int(segment.count) * 512))
        }
        #expect(try file.read(count: 8192 * 512 + 1) == content, "\(place) \(flags)")
        #expect((file.allocated < full) == flags.contains(.unmap), "\(place) \(flags)")
        #expect(bench.told.all.isEmpty && bench.queue.inFlight == 0)
      }
    }
  }

  @Test("What was discarded takes no space", arguments: IOUnderTest.allCases)
  func discard(way: IOUnderTest) throws {
    for place in TestFile.Place.allCases {
      let file = try TestFile(sectors: 64, in: place)
      let bench = try BlockQueueUnderTest(file) { try way.make($0) }
      let content = pattern(64 * 512)
      try file.write(content)
      try #require(try bench.flush().status == .ok)
      let full = file.allocated
      let segments = [
        BlockSegment(sector: 8, count: 8), BlockSegment(sector: 0, count: 0), BlockSegment(sector: 32, count: 8),
      ]
      #expect(try bench.segments(.discard, segments) == done(.ok))
      #expect(file.allocated == full - 8192)
      #expect(try file.read(count: 4096) == Array(content[..<4096]))
      #expect(try file.read(at: 8192, count: 8192) == Array(content[8192..<16384]))
      #expect(try file.read(at: 20480, count: 65536) == Array(content[20480...]))
    }
  }

  @Test("Segments that are not whole, none at all, too many, or too long are refused before anything is done")
  func badSegments() throws {
    let file = try TestFile(sectors: 1 << 23)
    try file.write(pattern(512))
    let bench = try BlockQueueUnderTest(file) { try ScriptedIO(over: IOUnderTest.threads.make($0)) }
    let good = BlockSegment(sector: 0, count: 1)
    for kind in [BlockRequest.Kind.discard, .writeZeroes] {
      let most = kind == .discard ? BlockMedium.maxDiscardSectors : BlockMedium.maxWriteZeroesSectors
      #expect(try bench.segments(kind, []) == done(.ioError))
      for count in [1, 8, 15, 17, 31] {
        let request = BlockRequest(kind).encoded + (good.encoded + good.encoded).prefix(count)
        #expect(try bench.run(request, room: 1) == done(.ioError))
      }
      #expect(try bench.segments(kind, Array(repeating: good, count: 17)) == done(.ioError))
      #expect(try bench.segments(kind, Array(repeating: good, count: 1000)) == done(.ioError))
      for count in [most + 1, .max] {
        #expect(try bench.segments(kind, [good, BlockSegment(sector: 0, count: count)]) == done(.ioError))
      }
    }
    #expect((bench.io as? ScriptedIO)?.operations.isEmpty == true)
    for kind in [BlockRequest.Kind.discard, .writeZeroes] {
      let most = kind == .discard ? BlockMedium.maxDiscardSectors : BlockMedium.maxWriteZeroesSectors
      let longest = BlockSegment(sector: 1, count: most, flags: kind == .discard ? [] : .unmap)
      #expect(try bench.segments(kind, Array(repeating: longest, count: 16)) == done(.ok))
    }
    #expect(try file.read(count: 512) == pattern(512))
  }

  @Test(
    "Flags that are unknown, and those that a discard cannot have, are unsupported, before anything else is looked at")
  func flags() throws {
    let bench = try BlockQueueUnderTest(try TestFile()) { try ScriptedIO(over: IOUnderTest.threads.make($0)) }
    for bit in 0..<32 {
      let flags = BlockSegment.Flags(rawValue: 1 << UInt32(bit))
      for segments in [
        [BlockSegment(sector: 0, count: 1, flags: flags)],
        [BlockSegment(sector: 0, count: 1), BlockSegment(sector: 0, count: 1, flags: flags)],
        [BlockSegment(sector: .max, count: .max), BlockSegment(sector: .max, count: .max, flags: flags)],
      ] {
        #expect(try bench.segments(.discard, segments) == done(.unsupported))
        guard bit > 0 else { continue }
        #expect(try bench.segments(.writeZeroes, segments) == done(.unsupported))
      }
    }
    #expect((bench.io as? ScriptedIO)?.operations.isEmpty == true)
  }

  @Test("What the driver has not accepted is unsupported")
  func notNegotiated() throws {
    let bench = try BlockQueueUnderTest(try TestFile(), features: .blockFlush) {
      try ScriptedIO(over: IOUnderTest.threads.make($0))
    }
    for kind in [BlockRequest.Kind.discard, .writeZeroes] {
      #expect(try bench.segments(kind, [BlockSegment(sector: 0, count: 1)]) == done(.unsupported))
    }
    #expect((bench.io as? ScriptedIO)?.operations.isEmpty == true)
  }

  // MARK: Caches

  @Test(
    "A driver that can flush gets writes as they come; for one that cannot each is on stable storage when it is done")
  func writeThrough() throws {
    for features in [BlockQueueUnderTest.everything, BlockQueueUnderTest.everything.subtracting(.blockFlush)] {
      let bench = try BlockQueueUnderTest(try TestFile(sectors: 8, in: .disk), features: features) {
        try ScriptedIO(over: IOUnderTest.threads.make($0))
      }
      let io = try #require(bench.io as? ScriptedIO)
      let isBack = features.contains(.blockFlush)
      #expect(try bench.write(0, pattern(512)) == done(.ok))
      #expect(io.operations.map(\.kind) == [isBack ? .write : .durableWrite])
      #expect(try bench.segments(.writeZeroes, [BlockSegment(sector: 0, count: 1)]) == done(.ok))
      #expect(io.operations.dropFirst().map(\.kind) == (isBack ? [.zeroRange] : [.zeroRange, .sync]))
      let count = io.operations.count
      #expect(try bench.segments(.discard, [BlockSegment(sector: 0, count: 8)]) == done(.ok))
      #expect(io.operations.dropFirst(count).map(\.kind) == [.punchHole])
      #expect(try bench.flush() == done(.ok))
      #expect(io.operations.last?.kind == .sync)
    }
  }
}
