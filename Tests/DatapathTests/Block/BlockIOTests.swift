import CLinux
import Glibc
import Testing
import VDPA

@testable import Datapath

/// What both ways of doing file operations have to do alike.
@Suite struct BlockIOTests {
  /// Operations on a file, one after the other or many at a time.
  private final class Bench {
    let file: TestFile
    let opened: BlockFile
    let io: any BlockIO
    let arena: TestArena
    private let epoll: Epoll

    init(_ way: IOUnderTest, _ file: TestFile, isReadOnly: Bool = false, depth: Int = 64) throws {
      self.file = file
      opened = try file.open(isReadOnly: isReadOnly)
      io = try way.make(opened, depth: depth)
      arena = try TestArena()
      epoll = try Epoll()
      try epoll.add(io.wakeup.descriptor, token: 0, interest: [.readable, .edgeTriggered])
    }

    /// Vectors on pieces of the arena.
    func vectors(_ pieces: [(offset: Int, count: Int)]) -> BlockVectors {
      let vectors = BlockVectors()
      unsafe vectors.set(pieces.map { unsafe iovec(iov_base: arena.pointer($0.offset), iov_len: $0.count) })
      return vectors
    }

    /// Waits for that many completions; asleep, so that a lost wakeup is a failure.
    func wait(_ count: Int) throws -> [BlockCompletion] {
      var found: [BlockCompletion] = []
      while found.count < count {
        if io.reap({ found.append($0) }) > 0 { continue }
        try sleep(epoll)
      }
      return found
    }

    func run(_ operation: BlockOperation) throws -> Int {
      io.prepare(operation)
      #expect(io.submit())
      return try #require(try wait(1).first).result
    }
  }

  @Test("What is written in pieces is in the file, and is read in other pieces", arguments: IOUnderTest.allCases)
  func data(way: IOUnderTest) throws {
    for place in TestFile.Place.allCases {
      let bench = try Bench(way, try TestFile(sectors: 8, in: place))
      let data = pattern(1000)
      bench.arena.write(data, at: 100)
      let from = bench.vectors([(100, 1), (101, 510), (611, 489)])
      for kind in [BlockOperation.Kind.write, .durableWrite] {
        try bench.file.write(Array(repeating: 0, count: 4096))
        let written = BlockOperation(kind: kind, memory: from.next, offset: 513, tag: 1)
        #expect(try bench.run(written) == 1000)
        #expect(
          try bench.file.read(count: 4096)
            == Array(repeating: 0, count: 513) + data + Array(repeating: 0, count: 4096 - 1513))
      }
      #expect(try bench.run(BlockOperation(kind: .sync)) == 0)
      let to = bench.vectors([(5000, 700), (8000, 300)])
      #expect(try bench.run(BlockOperation(kind: .read, memory: to.next, offset: 513)) == 1000)
      #expect(bench.arena.read(5000, 700) + bench.arena.read(8000, 300) == data)
    }
  }

  @Test("A read at the end of a file is short, one behind it is empty", arguments: IOUnderTest.allCases)
  func end(way: IOUnderTest) throws {
    let bench = try Bench(way, try TestFile(sectors: 2))
    let memory = bench.vectors([(0, 1024)])
    for (offset, expected) in [(0, 1024), (512, 512), (1000, 24), (1023, 1), (1024, 0), (1 << 40, 0)] {
      #expect(try bench.run(BlockOperation(kind: .read, memory: memory.next, offset: UInt64(offset))) == expected)
    }
  }

  @Test(
    "Holes and zeroes are made where the file system can, and refused where it cannot", arguments: IOUnderTest.allCases)
  func ranges(way: IOUnderTest) throws {
    for place in TestFile.Place.allCases {
      let bench = try Bench(way, try TestFile(sectors: 64, in: place))
      try bench.file.write(pattern(64 * 512))
      #expect(try bench.run(BlockOperation(kind: .sync)) == 0)
      let full = bench.file.allocated
      #expect(try bench.run(BlockOperation(kind: .punchHole, offset: 4096, length: 8192)) == 0)
      var expected = pattern(64 * 512)
      expected.replaceSubrange(4096..<4096 + 8192, with: Array(repeating: 0, count: 8192))
      #expect(try bench.file.read(count: 64 * 512) == expected)
      #expect(bench.file.allocated == full - 8192)
      let zeroed = try bench.run(BlockOperation(kind: .zeroRange, offset: 16384, length: 512))
      #expect(zeroed == (place == .memory ? -Int(EOPNOTSUPP) : 0))
      if zeroed == 0 { expected.replaceSubrange(16384..<16384 + 512, with: Array(repeating: 0, count: 512)) }
      #expect(try bench.file.read(count: 64 * 512 + 1) == expected)
    }
  }

  @Test("The system's refusals are results: no room, no permission, no memory", arguments: IOUnderTest.allCases)
  func errors(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 8)
    do {
      let bench = try Bench(way, file, isReadOnly: true)
      let memory = bench.vectors([(0, 512)])
      #expect(try bench.run(BlockOperation(kind: .write, memory: memory.next)) == -Int(EBADF))
      #expect(try bench.run(BlockOperation(kind: .punchHole, length: 512)) == -Int(EBADF))
    }
    let bench = try Bench(way, file)
    // Only a block device can be told what is not needed.
    #expect(try bench.run(BlockOperation(kind: .discard, length: 512)) == -Int(ENOTTY))
    // The guest's memory ends where its file ends, whatever has been mapped: an error and no signal.
    bench.arena.truncate(4096)
    let gone = bench.vectors([(8192, 512)])
    #expect(try bench.run(BlockOperation(kind: .write, memory: gone.next)) == -Int(EFAULT))
    #expect(try bench.run(BlockOperation(kind: .read, memory: gone.next)) == -Int(EFAULT))
    let half = bench.vectors([(4096 - 512, 1024)])
    try bench.file.write(pattern(4096))
    #expect([512, -Int(EFAULT)].contains(try bench.run(BlockOperation(kind: .read, memory: half.next))))
    try file.seal(TestFile.sealWrite)
    let there = bench.vectors([(0, 512)])
    #expect(try bench.run(BlockOperation(kind: .write, memory: there.next)) == -Int(EPERM))
  }

  @Test(
    "As many as the depth are under way at a time, each is told of once, and each has done what it should",
    arguments: IOUnderTest.allCases)
  func many(way: IOUnderTest) throws {
    let depth = 32
    let bench = try Bench(way, try TestFile(sectors: depth), depth: depth)
    let vectors = (0..<depth).map { bench.vectors([($0 * 512, 512)]) }
    for round in 0..<20 {
      let data = (0..<depth).map { pattern(512, seed: UInt8(truncatingIfNeeded: $0 + round)) }
      for i in 0..<depth { bench.arena.write(data[i], at: i * 512) }
      for i in 0..<depth {
        bench.io.prepare(
          BlockOperation(kind: .write, memory: vectors[i].next, offset: UInt64(i * 512), tag: UInt64(100 + i)))
      }
      #expect(bench.io.submit())
      let completions = try bench.wait(depth)
      #expect(completions.map(\.tag).sorted() == (100..<UInt64(100 + depth)).map { $0 })
      #expect(completions.allSatisfy { $0.result == 512 })
      #expect(try bench.file.read(count: depth * 512) == data.flatMap(\.self))
      #expect(bench.io.reap { _ in } == 0)
    }
  }

  @Test("Long transfers are whole, though others than the submitter do them", arguments: IOUnderTest.allCases)
  func long(way: IOUnderTest) throws {
    let bench = try Bench(way, try TestFile(sectors: 2048))
    let data = pattern(1 << 20)
    bench.arena.write(data, at: 0)
    let memory = bench.vectors([(0, 1 << 19), (1 << 19, 1 << 19)])
    #expect(try bench.run(BlockOperation(kind: .write, memory: memory.next)) == 1 << 20)
    #expect(try bench.file.read(count: 1 << 20) == data)
  }

  @Test("Draining waits for all that is under way, and letting go of it does too", arguments: IOUnderTest.allCases)
  func drain(way: IOUnderTest) throws {
    for round in 0..<10 {
      let file = try TestFile(sectors: 2048)
      var bench: Bench? = try Bench(way, file)
      let data = pattern(1 << 20, seed: UInt8(round + 1))
      bench?.arena.write(data, at: 0)
      let vectors = try #require((0..<8).map { bench?.vectors([($0 << 17, 1 << 17)]) } as? [BlockVectors])
      for i in 0..<8 {
        bench?.io.prepare(
          BlockOperation(kind: .write, memory: vectors[i].next, offset: UInt64(i << 17), tag: UInt64(i)))
      }
      #expect(bench?.io.submit() == true)
      if round % 2 == 0 { bench?.io.drain() } else { bench = nil }
      #expect(try file.read(count: 1 << 20) == data)
    }
  }

  @Test("Letting go of one queue waits for its operations, though the threads go on for others")
  func sharedThreads() throws {
    let file = try TestFile(sectors: 2048)
    let opened = try file.open()
    let threads = try BlockThreads(count: 1, file: opened.descriptor)
    let vectors = BlockVectors()
    for length in [1 << 20, 1 << 19, 512] {
      var one: ThreadIO? = ThreadIO(threads, depth: 64, wakeup: try EventFD.make())
      vectors.setZeroes(length)
      try file.write(pattern(1 << 20))
      for _ in 0..<20 { one?.prepare(BlockOperation(kind: .write, memory: vectors.next)) }
      #expect(one?.submit() == true)
      one = nil
      // What they write from may be used for something else from now on.
      let now = pattern(1 << 20)
      try file.write(now)
      let other = ThreadIO(threads, depth: 1, wakeup: try EventFD.make())
      other.prepare(BlockOperation(kind: .sync))
      #expect(other.submit())
      other.drain()
      #expect(try file.read(count: 1 << 20) == now)
    }
  }

  @Test("Descriptors and threads go with it", arguments: IOUnderTest.allCases)
  func released(way: IOUnderTest) throws {
    let file = try TestFile()
    let opened = try file.open()
    let first = dup(0)
    close(first)
    for _ in 0..<20 { _ = try way.make(opened) }
    let last = dup(0)
    close(last)
    #expect(first == last)
  }
}
