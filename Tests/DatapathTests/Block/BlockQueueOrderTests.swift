import Testing
import VDPA
import Virtio

@testable import Datapath

/// Many requests at a time (virtio 1.2, §5.2.6: "used by the device, not necessarily in order").
@Suite struct BlockQueueOrderTests {
  @Test("A slow request holds nobody up: others overtake it", arguments: IOUnderTest.allCases)
  func overtaking(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 16)
    try file.write(pattern(8192))
    let bench = try BlockQueueUnderTest(file) { try ScriptedIO(over: way.make($0)) }
    let io = try #require(bench.io as? ScriptedIO)
    io.hold { $0.offset == 512 }
    let slow = bench.make(BlockRequest(.read, sector: 1).encoded, room: 513)
    let others = [0, 2, 3].map { bench.make(BlockRequest(.read, sector: $0).encoded, room: 513) }
    for other in others { #expect(try bench.wait(for: other).status == .ok) }
    #expect(!bench.isEnded(slow) && bench.queue.inFlight == 1 && bench.queue.underWay == 1)
    // One that needs no operation overtakes as well.
    let name = bench.make(BlockRequest(.getID).encoded, room: 21)
    #expect(bench.isEnded(name))
    io.release()
    #expect(try bench.wait(for: slow).data == Array(pattern(8192)[512..<1024]))
    #expect(bench.order.last == 0 && bench.queue.inFlight == 0)
  }

  @Test("A flush waits for itself alone: it does not stop at writes that are under way")
  func flushAndWrite() throws {
    let bench = try BlockQueueUnderTest(try TestFile(sectors: 16)) {
      try ScriptedIO(over: IOUnderTest.threads.make($0))
    }
    let io = try #require(bench.io as? ScriptedIO)
    io.hold { $0.kind == .write }
    let write = bench.make(BlockRequest(.write).encoded + pattern(512), room: 1)
    let flush = bench.make(BlockRequest(.flush).encoded, room: 1)
    #expect(try bench.wait(for: flush) == BlockQueueUnderTest.done(.ok))
    #expect(!bench.isEnded(write))
    io.release()
    #expect(try bench.wait(for: write) == BlockQueueUnderTest.done(.ok))
  }

  @Test(
    "No more operations than the depth are under way; the rest wait in order, and all are served",
    arguments: IOUnderTest.allCases)
  func depth(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 256)
    let content = pattern(256 * 512)
    try file.write(content)
    let bench = try BlockQueueUnderTest(file) { try ScriptedIO(over: way.make($0, depth: 4)) }
    let io = try #require(bench.io as? ScriptedIO)
    io.hold { _ in true }
    let made = (0..<200).map { bench.make(BlockRequest(.read, sector: UInt64($0)).encoded, room: 513) }
    for round in 1...50 {
      #expect(bench.queue.underWay == 4 && io.operations.count == 4 * round)
      #expect(bench.queue.inFlight == 200 - 4 * (round - 1))
      io.release()
      let last = made[4 * round - 4]
      _ = try bench.wait(for: last)
      while bench.queue.inFlight > 200 - 4 * round { _ = bench.queue.service() }
    }
    #expect(bench.queue.inFlight == 0 && bench.queue.underWay == 0)
    for (i, one) in made.enumerated() {
      #expect(try bench.wait(for: one).data == Array(content[i * 512..<(i + 1) * 512]))
    }
  }

  @Test("A kernel that takes no more for now is asked again, and nothing is lost")
  func refused() throws {
    let bench = try BlockQueueUnderTest(try TestFile()) { try ScriptedIO(over: IOUnderTest.threads.make($0)) }
    let io = try #require(bench.io as? ScriptedIO)
    io.refuse(times: 5)
    let read = bench.make(BlockRequest(.read).encoded, room: 513)
    for _ in 0..<5 { #expect(bench.queue.service() > 0) }
    #expect(try bench.wait(for: read).status == .ok)
  }

  @Test(
    "Thousands of requests of all kinds at once, in any order: each does what it should, once",
    arguments: IOUnderTest.allCases)
  func storm(way: IOUnderTest) throws {
    let sectors = 512
    let file = try TestFile(sectors: sectors)
    var content = pattern(sectors * 512)
    try file.write(content)
    let bench = try BlockQueueUnderTest(file, memory: 4 << 20) { try way.make($0) }
    var random = SystemRandomNumberGenerator()
    for _ in 0..<10 {
      bench.arena.reset()
      // Each round a sector is the place of one request at most, so that the order does not matter.
      var reads: [(Int, BlockQueueUnderTest.Made)] = []
      var others: [BlockQueueUnderTest.Made] = []
      for sector in (0..<sectors).shuffled(using: &random) {
        switch Int.random(in: 0..<6, using: &random) {
        case 0, 1:
          reads.append((sector, bench.make(BlockRequest(.read, sector: UInt64(sector)).encoded, room: 513)))
        case 2, 3:
          let data = pattern(512, seed: UInt8.random(in: 0...255, using: &random))
          content.replaceSubrange(sector * 512..<sector * 512 + 512, with: data)
          others.append(bench.make(BlockRequest(.write, sector: UInt64(sector)).encoded + data, room: 1))
        case 4:
          content.replaceSubrange(sector * 512..<sector * 512 + 512, with: Array(repeating: 0, count: 512))
          let segment = BlockSegment(sector: UInt64(sector), count: 1, flags: Bool.random() ? .unmap : [])
          others.append(bench.make(BlockRequest(.writeZeroes).encoded + segment.encoded, room: 1))
        default: others.append(bench.make(BlockRequest(.flush).encoded, room: 1))
        }
      }
      for other in others { #expect(try bench.wait(for: other) == BlockQueueUnderTest.done(.ok)) }
      for (sector, read) in reads {
        #expect(try bench.wait(for: read).data == Array(content[sector * 512..<sector * 512 + 512]))
      }
      #expect(try file.read(count: sectors * 512 + 1) == content)
      #expect(bench.queue.inFlight == 0)
    }
    #expect(Set(bench.order).count == bench.order.count)
    #expect(bench.told.all.isEmpty)
  }
}
