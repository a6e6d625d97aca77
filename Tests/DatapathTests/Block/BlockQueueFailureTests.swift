import Glibc
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Files that fail, and systems that hesitate: an I/O error for the guest, a reason for the operator.
@Suite struct BlockQueueFailureTests {
  private typealias Outcome = BlockQueueUnderTest.Outcome
  private let done = BlockQueueUnderTest.done

  /// A queue whose operations end as a test says.
  private func scripted(sectors: Int = 64, depth: Int = 64) throws -> (BlockQueueUnderTest, ScriptedIO) {
    let io = try ScriptedIO(depth: depth)
    return (try BlockQueueUnderTest(try TestFile(sectors: sectors)) { _ in io }, io)
  }

  @Test(
    "Whatever error the system has is an I/O error, with its reason and the file's name for the operator",
    arguments: [ENOSPC, EIO, EDQUOT, EFBIG, EPERM, EROFS, EFAULT, EBADF, ENOMEM, ENODEV])
  func errors(number: CInt) throws {
    let requests: [(String, BlockRequest.Kind)] = [
      ("IN of 512 bytes at sector 7", .read), ("OUT of 512 bytes at sector 7", .write), ("FLUSH", .flush),
      ("DISCARD of 8 sectors at sector 16", .discard), ("WRITE_ZEROES of 8 sectors at sector 16", .writeZeroes),
    ]
    for (name, kind) in requests {
      let (bench, io) = try scripted()
      io.results = [-Int(number)]
      let outcome =
        switch kind {
        case .read: try bench.read(7)
        case .write: try bench.write(7, pattern(512))
        case .flush: try bench.flush()
        default: try bench.segments(kind, [BlockSegment(sector: 16, count: 8)])
        }
      #expect(outcome.status == .ioError && outcome.written == (kind == .read ? 0 : 1), "\(name)")
      let line = try #require(bench.told.all.first)
      #expect(line.hasPrefix("vring 3: \(name): \(bench.file.path): "), "\(line)")
      #expect(line.hasSuffix(unsafe String(cString: strerror(number))), "\(line)")
      #expect(io.operations.count == 1 && bench.queue.inFlight == 0 && bench.queue.underWay == 0)
    }
  }

  @Test("Transfers that the system does in parts go on where they stopped", arguments: IOUnderTest.allCases)
  func parts(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 64)
    let bench = try BlockQueueUnderTest(file) { try ScriptedIO(over: way.make($0)) }
    let io = try #require(bench.io as? ScriptedIO)
    let data = pattern(8192)
    // The bytes that a part is said to have done are those that another real operation has left there.
    for parts in [[1], [511, 1], [512, 512, 512], [8191], [1, 2, 3, 4, 5], [4096]] {
      try file.write(data)
      io.results = parts
      let read = try bench.run(BlockRequest(.read).encoded, room: 8193, roomCuts: [1, 500, 3000, 4691, 1])
      let skipped = parts.reduce(0, +)
      #expect(read.status == .ok && read.written == 8193)
      #expect(
        read.data == Array(repeating: BlockQueueUnderTest.canary, count: skipped) + data.dropFirst(skipped), "\(parts)")
      try file.write(Array(repeating: 0, count: 8192))
      io.results = parts
      #expect(
        try bench.run(BlockRequest(.write).encoded + data, cuts: [10, 10, 4000, 4188], room: 1) == done(.ok))
      #expect(try file.read(count: 8192) == Array(repeating: 0, count: skipped) + data.dropFirst(skipped), "\(parts)")
    }
  }

  @Test("Interrupted and refused for now: tried again, but not for ever")
  func retries() throws {
    for number in [EINTR, EAGAIN] {
      let (bench, io) = try scripted()
      io.results = Array(repeating: -Int(number), count: 100)
      #expect(try bench.write(0, pattern(512)) == done(.ok))
      #expect(io.operations.count == 101)
      #expect(io.operations.map(\.isRetry) == [false] + Array(repeating: true, count: 100))
      // Progress in between is a reason to go on.
      io.results =
        Array(repeating: -Int(number), count: 100) + [256] + Array(repeating: -Int(number), count: 100)
      #expect(try bench.write(0, pattern(512)) == done(.ok))
      #expect(bench.told.all.isEmpty)
      io.results = Array(repeating: -Int(number), count: 101)
      #expect(try bench.write(0, pattern(512)) == done(.ioError))
      #expect(io.results.isEmpty)
      // The next request starts anew.
      io.results = Array(repeating: -Int(number), count: 100)
      #expect(try bench.flush() == done(.ok))
    }
  }

  @Test("An operation that does nothing is an error and no loop")
  func zeroProgress() throws {
    let (bench, io) = try scripted()
    io.results = [512, 0]
    let read = try bench.read(0, sectors: 2)
    #expect(read.status == .ioError && read.written == 512)
    io.results = [0]
    #expect(try bench.write(0, pattern(512)) == done(.ioError))
    io.results = [-Int(EOPNOTSUPP), 0]
    #expect(try bench.segments(.writeZeroes, [BlockSegment(sector: 0, count: 1)]) == done(.ioError))
    #expect(bench.told.all.count == 1 && bench.told.all[0].contains("the file ends 512 bytes early"))
  }

  @Test("A file that was truncated gives what it has, and errors behind its end", arguments: IOUnderTest.allCases)
  func truncated(way: IOUnderTest) throws {
    for place in TestFile.Place.allCases {
      let file = try TestFile(sectors: 16, in: place)
      try file.write(pattern(8192))
      let bench = try BlockQueueUnderTest(file) { try way.make($0) }
      try file.resize(1000)
      #expect(try bench.read(0).data == Array(pattern(512)))
      let across = try bench.read(0, sectors: 4)
      #expect(across.status == .ioError && across.written == 1000)
      #expect(across.data.prefix(1000) == pattern(8192).prefix(1000))
      let behind = try bench.read(8)
      #expect(behind.status == .ioError && behind.written == 0)
      #expect(bench.told.all.count == 1 && bench.told.all[0].contains("has it been truncated?"))
      // Nothing grows a file but a write.
      #expect(try bench.segments(.discard, [BlockSegment(sector: 8, count: 8)]) == done(.ok))
      #expect(try file.read(count: 9000).count == 1000)
      #expect(try bench.write(15, pattern(512)) == done(.ok))
      #expect(try bench.read(8).data == Array(repeating: 0, count: 512))
    }
  }

  @Test("A file that may no longer be written gives errors, and still reads", arguments: IOUnderTest.allCases)
  func sealed(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 16)
    try file.write(pattern(8192))
    let bench = try BlockQueueUnderTest(file) { try way.make($0) }
    try file.seal(TestFile.sealWrite)
    #expect(try bench.write(0, pattern(512, seed: 9)) == done(.ioError))
    #expect(try bench.segments(.discard, [BlockSegment(sector: 0, count: 8)]) == done(.ioError))
    for flags in [[], .unmap] as [BlockSegment.Flags] {
      #expect(try bench.segments(.writeZeroes, [BlockSegment(sector: 0, count: 8, flags: flags)]) == done(.ioError))
    }
    #expect(try bench.read(0, sectors: 16).data == pattern(8192))
    #expect(bench.told.all.count == 1 && bench.told.all[0].contains("Operation not permitted"), "\(bench.told.all)")
  }

  @Test("Guest memory that has gone is an error of that request", arguments: IOUnderTest.allCases)
  func memoryGone(way: IOUnderTest) throws {
    let file = try TestFile(sectors: 16)
    try file.write(pattern(8192))
    let bench = try BlockQueueUnderTest(file) { try way.make($0) }
    // The header and the status are at its start; what is behind is gone.
    let header = TestBuffers.Piece(offset: bench.arena.take(16), count: 16)
    let status = TestBuffers.Piece(offset: bench.arena.take(1), count: 1)
    let gone = TestBuffers.Piece(offset: 1 << 16, count: 4096)
    bench.arena.truncate(4096)
    for kind in [BlockRequest.Kind.read, .write] {
      bench.arena.write(BlockRequest(kind).encoded, at: header.offset)
      bench.arena.write([BlockQueueUnderTest.canary], at: status.offset)
      var written: Int?
      bench.queue.process(
        TestBuffers(
          arena: bench.arena, readable: kind == .read ? [header] : [header, gone],
          writable: kind == .read ? [gone, status] : [status]
        ) { written = $0 })
      while written == nil { _ = bench.queue.service() }
      #expect(bench.arena.read(status.offset, 1) == [BlockStatus.ioError.rawValue])
      #expect(written == (kind == .read ? 0 : 1))
    }
    #expect(bench.told.all.count == 1 && bench.told.all[0].contains("Bad address"))
    #expect(try file.read(count: 8192) == pattern(8192))
  }

  @Test("After a flush has failed none succeeds, for what was lost stays lost")
  func syncFailure() throws {
    let (bench, io) = try scripted()
    #expect(try bench.flush() == done(.ok))
    io.results = [-Int(EIO)]
    #expect(try bench.flush() == done(.ioError))
    let count = io.operations.count
    #expect(try bench.flush() == done(.ioError))
    #expect(io.operations.count == count)
    // What is written and read is not touched by it.
    #expect(try bench.write(0, pattern(512)) == done(.ok))
    #expect(bench.medium.earlierSyncError == .ioError)
  }

  // MARK: What a file cannot do

  @Test("Each way of making zeroes falls back on the next, and what cannot be is not tried again")
  func fallbacks() throws {
    for number in [EOPNOTSUPP, ENOSYS] {
      let (bench, io) = try scripted(sectors: 1 << 16)
      let unmap = BlockSegment(sector: 2, count: 5000, flags: .unmap)
      io.results = [-Int(number), -Int(number)]
      #expect(try bench.segments(.writeZeroes, [unmap]) == done(.ok))
      #expect(io.operations.map(\.kind) == [.punchHole, .zeroRange, .write, .write, .write])
      var place = 1024
      for operation in io.operations.dropFirst(2) {
        #expect(operation.offset == UInt64(place))
        place += operation.memory.length
      }
      #expect(place == 1024 + 5000 * 512)
      let count = io.operations.count
      #expect(try bench.segments(.writeZeroes, [BlockSegment(sector: 0, count: 1, flags: .unmap)]) == done(.ok))
      #expect(io.operations.dropFirst(count).map(\.kind) == [.write])
      #expect(bench.told.all.isEmpty)
    }
  }

  @Test("A discard that cannot be done is done: the device may free the space and need not")
  func discardIgnored() throws {
    let (bench, io) = try scripted()
    io.results = [-Int(EOPNOTSUPP), 0, -Int(ENOSYS)]
    let segments = (0..<3).map { BlockSegment(sector: $0 * 8, count: 8) }
    #expect(try bench.segments(.discard, segments) == done(.ok))
    #expect(io.operations.map(\.kind) == [.punchHole, .punchHole, .punchHole])
    #expect(io.operations.map(\.offset) == [0, 4096, 8192] && io.operations.map(\.length) == [4096, 4096, 4096])
    // Of a file a range that is invalid is an error; only block devices mean by it that it is not of whole blocks.
    io.results = [-Int(EINVAL)]
    #expect(try bench.segments(.discard, segments) == done(.ioError))
  }

  @Test("Errors in the middle of segments leave the rest undone")
  func segmentError() throws {
    let (bench, io) = try scripted()
    io.results = [0, -Int(ENOSPC)]
    let segments = (0..<3).map { BlockSegment(sector: $0 * 8, count: 8) }
    #expect(try bench.segments(.writeZeroes, segments) == done(.ioError))
    #expect(io.operations.map(\.offset) == [0, 4096])
    #expect(bench.told.all[0].contains("WRITE_ZEROES of 8 sectors at sector 8"))
  }
}
