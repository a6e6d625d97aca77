import Testing
import VDPA
import Virtio

@testable import Datapath

/// A request means the same however it is cut into descriptors (virtio 1.2, §2.7.4).
@Suite struct BlockQueueLayoutTests {
  /// Every way to cut that many bytes into at most `most` pieces, between two of the given places.
  private func cuts(_ total: Int, most: Int, at places: [Int]? = nil) -> [[Int]] {
    var all: [[Int]] = []
    func add(_ pieces: [Int], from start: Int) {
      all.append(pieces + [total - start])
      guard pieces.count + 1 < most else { return }
      for place in places ?? Array(1..<max(total, 1)) where place > start && place < total {
        add(pieces + [place - start], from: place)
      }
    }
    add([], from: 0)
    return all
  }

  @Test("The header in up to five pieces, byte by byte, and with empty descriptors between")
  func header() throws {
    let id = Array("a name of twenty byt".utf8)
    let bench = try BlockQueueUnderTest(try TestFile(), id: id) { try IOUnderTest.threads.make($0) }
    let header = BlockRequest(.getID, sector: 5).encoded
    let expected = BlockQueueUnderTest.Outcome(status: .ok, written: 21, data: id)
    for cut in cuts(16, most: 5) + [Array(repeating: 1, count: 16)] {
      #expect(try bench.run(header, cuts: cut, room: 21) == expected, "\(cut)")
    }
    for cut in cuts(16, most: 2) {
      let withEmpty = [0] + cut.flatMap { [$0, 0] }
      #expect(
        try bench.run(header, cuts: withEmpty, room: 21, roomCuts: [0, 10, 0, 11, 0]).status == .ok, "\(withEmpty)")
    }
  }

  @Test("The name and the status in up to three pieces: the status is the last byte, wherever that is")
  func name() throws {
    let bench = try BlockQueueUnderTest(try TestFile(), id: Array("disk".utf8)) { try IOUnderTest.threads.make($0) }
    let header = BlockRequest(.getID).encoded
    let id = Array("disk".utf8) + Array(repeating: 0, count: 16)
    for cut in cuts(21, most: 3) + [Array(repeating: 1, count: 21)] {
      let outcome = try bench.run(header, room: 21, roomCuts: cut)
      #expect(outcome == BlockQueueUnderTest.Outcome(status: .ok, written: 21, data: id), "\(cut)")
    }
    // A driver has to give it twenty bytes; with fewer it gets what there is room for, with more the rest stays.
    for room in 1...40 {
      let outcome = try bench.run(header, room: room)
      let data = Array((id + Array(repeating: BlockQueueUnderTest.canary, count: 20)).prefix(room - 1))
      #expect(outcome.status == .ok && outcome.data == data)
      #expect(outcome.written == (room <= 21 ? room : 20))
    }
  }

  @Test("A write's header and data, cut anywhere and together", arguments: IOUnderTest.allCases)
  func writes(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 4)
    let bench = try BlockQueueUnderTest(file) { try way.make($0) }
    let places = [1, 4, 8, 15, 16, 17, 20, 271, 272, 273, 526, 527]
    for (i, cut) in cuts(16 + 512, most: 4, at: places).enumerated() {
      let data = pattern(512, seed: UInt8(truncatingIfNeeded: i))
      let outcome = try bench.run(BlockRequest(.write, sector: 2).encoded + data, cuts: cut, room: 1)
      #expect(outcome == BlockQueueUnderTest.done(.ok), "\(cut)")
      #expect(try file.read(at: 1024, count: 512) == data, "\(cut)")
    }
    #expect(try file.read(count: 1024) == Array(repeating: 0, count: 1024))
    #expect(try file.read(at: 1536, count: 1024) == Array(repeating: 0, count: 512))
  }

  @Test("A read's data and status, cut anywhere and together", arguments: IOUnderTest.allCases)
  func reads(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 4)
    let data = pattern(2048)
    try file.write(data)
    let bench = try BlockQueueUnderTest(file) { try way.make($0) }
    for cut in cuts(1025, most: 4, at: [1, 2, 255, 256, 511, 512, 513, 1000, 1022, 1023, 1024]) {
      let outcome = try bench.run(BlockRequest(.read, sector: 1).encoded, room: 1025, roomCuts: cut)
      #expect(
        outcome == BlockQueueUnderTest.Outcome(status: .ok, written: 1025, data: Array(data[512..<1536])), "\(cut)")
    }
  }

  @Test("Data in more descriptors than a system call takes", arguments: IOUnderTest.allCases)
  func manyPieces(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 8)
    let bench = try BlockQueueUnderTest(file) { try way.make($0) }
    let data = pattern(4096)
    let single = Array(repeating: 1, count: 4096)
    let written = try bench.run(BlockRequest(.write).encoded + data, cuts: [16] + single, room: 1)
    #expect(written == BlockQueueUnderTest.done(.ok))
    #expect(try file.read(count: 4096) == data)
    let read = try bench.run(BlockRequest(.read).encoded, room: 4097, roomCuts: single + [1])
    #expect(read == BlockQueueUnderTest.Outcome(status: .ok, written: 4097, data: data))
  }

  @Test("Segments, cut anywhere", arguments: IOUnderTest.allCases)
  func segments(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 8)
    let bench = try BlockQueueUnderTest(file) { try way.make($0) }
    let request =
      BlockRequest(.writeZeroes).encoded + BlockSegment(sector: 1, count: 2).encoded
      + BlockSegment(sector: 6, count: 1).encoded
    var expected = pattern(4096)
    for range in [512..<1536, 3072..<3584] {
      expected.replaceSubrange(range, with: Array(repeating: 0, count: range.count))
    }
    for cut in cuts(48, most: 3) + [Array(repeating: 1, count: 48)] {
      try file.write(pattern(4096))
      #expect(try bench.run(request, cuts: cut, room: 1) == BlockQueueUnderTest.done(.ok), "\(cut)")
      #expect(try file.read(count: 4096) == expected, "\(cut)")
    }
  }

  @Test("A header of fewer than sixteen bytes is an I/O error, cut anywhere")
  func shortHeader() throws {
    let bench = try BlockQueueUnderTest(try TestFile()) { try IOUnderTest.threads.make($0) }
    let header = BlockRequest(.getID).encoded
    for count in 0..<16 {
      for cut in cuts(count, most: 2) {
        let outcome = try bench.run(Array(header.prefix(count)), cuts: cut, room: 21)
        #expect(outcome.status == .ioError && outcome.written == 0, "\(count) bytes")
        #expect(outcome.data == Array(repeating: BlockQueueUnderTest.canary, count: 20))
      }
    }
    #expect(bench.told.all.count == 1 && bench.told.all[0].contains("vring 3:"), "\(bench.told.all)")
    #expect(bench.told.all[0].contains("0 bytes for a header"))
  }

  @Test("Without room for a status nothing is done and nothing is written", arguments: IOUnderTest.allCases)
  func noStatus(way: IOUnderTest) throws {
    let file = try TestFile()
    let bench = try BlockQueueUnderTest(file) { try way.make($0) }
    for kind in [BlockRequest.Kind.read, .write, .flush, .getID, .discard, .writeZeroes] {
      for roomCuts in [[], [0], [0, 0]] {
        let data = pattern(512)
        let outcome = try bench.run(BlockRequest(kind).encoded + data, room: 0, roomCuts: roomCuts)
        #expect(outcome == BlockQueueUnderTest.Outcome(status: nil, written: 0, data: []))
      }
    }
    #expect(try bench.run([], room: 0).status == nil)
    #expect(try file.read(count: 512) == Array(repeating: 0, count: 512))
    #expect(bench.queue.inFlight == 0)
    #expect(bench.told.all == ["vring 3: a request without room for its status"])
  }
}
