import CLinux
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Which of the ways file operations are done in.
enum IOUnderTest: CaseIterable, CustomTestStringConvertible {
  /// A ring with a thread for what it does worse.
  case uring
  /// A ring alone, but for discards.
  case ring
  case threads

  var testDescription: String { "\(self)" }

  func make(_ file: BlockFile, depth: Int = 64) throws -> any BlockIO {
    switch self {
    case .uring, .ring:
      try UringIO(
        file: file, depth: depth, threads: BlockThreads(count: 1, file: file.descriptor),
        apart: self == .ring ? [] : nil)
    case .threads: ThreadIO(try BlockThreads(file: file.descriptor), depth: depth, wakeup: try EventFD.make())
    }
  }
}

/// A request queue on a file, with the memory of its requests, and nobody else around.
final class BlockQueueUnderTest {
  /// How a request has ended.
  struct Outcome: Equatable {
    var status: BlockStatus?
    /// What the guest is told has been written.
    var written: Int
    /// What stands in front of the status.
    var data: [UInt8]
  }

  /// A request that was made.
  struct Made {
    fileprivate let index: Int
    fileprivate let writable: [TestBuffers.Piece]
  }

  static let everything: Features = [.blockFlush, .blockDiscard, .blockWriteZeroes, .blockMultiqueue]
  /// What memory has in it that nobody has written to.
  static let canary: UInt8 = 0xa5

  let file: TestFile
  let medium: BlockMedium
  let io: any BlockIO
  let queue: BlockQueue<TestBuffers>
  let arena: TestArena
  /// What the operator was told.
  let told = Told()
  private let epoll: Epoll
  private let ended = Ended()

  final class Told: Sendable {
    private let lines: Mutex<[String]> = Mutex([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  private final class Ended {
    var written: [Int?] = []
    /// In which order they ended.
    var order: [Int] = []
  }

  init(
    _ file: TestFile, isReadOnly: Bool = false, features: Features = everything, id: [UInt8] = [],
    memory: Int = 1 << 20, io: (BlockFile) throws -> any BlockIO
  ) throws {
    self.file = file
    let opened = try file.open(isReadOnly: isReadOnly)
    medium = BlockMedium(opened, id: id)
    self.io = try io(opened)
    queue = BlockQueue(index: 3, medium: medium, io: self.io)
    queue.start(features: features)
    arena = try TestArena(memory)
    epoll = try Epoll()
    try epoll.add(self.io.wakeup.descriptor, token: 0, interest: [.readable, .edgeTriggered])
    medium.failures.setSink({ [told] in told.add("vring 3: \($0)") }, vring: 3)
  }

  /// Hands the queue a request.
  ///
  /// - Parameters:
  ///   - bytes: What the device reads.
  ///   - cuts: The lengths of its descriptors; one for all of it unless given.
  ///   - room: How many bytes the device may write, status included.
  ///   - roomCuts: The lengths of those descriptors.
  func make(_ bytes: [UInt8], cuts: [Int]? = nil, room: Int, roomCuts: [Int]? = nil) -> Made {
    var rest = bytes[...]
    let readable = (cuts ?? [bytes.count]).map { count in
      let piece = TestBuffers.Piece(offset: arena.take(count), count: count)
      arena.write(Array(rest.prefix(count)), at: piece.offset)
      rest = rest.dropFirst(count)
      return piece
    }
    let writable = (roomCuts ?? [room]).map { count in
      let piece = TestBuffers.Piece(offset: arena.take(count), count: count)
      arena.write(Array(repeating: BlockQueueUnderTest.canary, count: count), at: piece.offset)
      return piece
    }
    let index = ended.written.count
    ended.written.append(nil)
    queue.process(
      TestBuffers(arena: arena, readable: readable, writable: writable) { [ended] written in
        ended.written[index] = written
        ended.order.append(index)
      })
    return Made(index: index, writable: writable)
  }

  /// Whether a request has been given back.
  func isEnded(_ made: Made) -> Bool { ended.written[made.index] != nil }

  /// The order in which requests have been given back, by when they were made.
  var order: [Int] { ended.order }

  /// Serves until a request has been given back, asleep while there is nothing to do.
  func wait(for made: Made) throws -> Outcome {
    while !isEnded(made) {
      if queue.service() > 0 { continue }
      try sleep(epoll)
    }
    let all = made.writable.flatMap { arena.read($0.offset, $0.count) }
    return Outcome(
      status: all.last.map { BlockStatus(rawValue: $0) }, written: ended.written[made.index] ?? -1,
      data: all.dropLast())
  }

  /// Makes a request and waits for its end.
  func run(_ bytes: [UInt8], cuts: [Int]? = nil, room: Int, roomCuts: [Int]? = nil) throws -> Outcome {
    arena.reset()
    return try wait(for: make(bytes, cuts: cuts, room: room, roomCuts: roomCuts))
  }

  // MARK: Requests of a driver

  func read(_ sector: UInt64, sectors: Int = 1) throws -> Outcome {
    try run(BlockRequest(.read, sector: sector).encoded, room: sectors * 512 + 1)
  }

  func write(_ sector: UInt64, _ data: [UInt8]) throws -> Outcome {
    try run(BlockRequest(.write, sector: sector).encoded + data, room: 1)
  }

  func flush() throws -> Outcome { try run(BlockRequest(.flush).encoded, room: 1) }

  func segments(_ kind: BlockRequest.Kind, _ segments: [BlockSegment]) throws -> Outcome {
    try run(BlockRequest(kind).encoded + segments.flatMap(\.encoded), room: 1)
  }

  /// What a request that has no data for the guest ends with.
  static func done(_ status: BlockStatus) -> Outcome { Outcome(status: status, written: 1, data: []) }
}

/// Sleeps until something that is watched happens. A signal, also one by which the kernel finishes operations of this
/// thread, ends a wait early; a wakeup that is lost fails.
func sleep(_ epoll: Epoll) throws {
  let end = MonotonicClock.nanoseconds + 10_000_000_000
  while epoll.wait(milliseconds: 1000, { _ in }) == 0 {
    try #require(MonotonicClock.nanoseconds < end, "nothing wakes")
  }
}

/// Bytes that depend on their place.
func pattern(_ count: Int, seed: UInt8 = 1) -> [UInt8] {
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count + 509)
  // Blocks of a prime length, each different from the next, so that no two sectors are alike.
  let block = (0..<509).map { UInt8(truncatingIfNeeded: $0 &* 31) &+ seed }
  while bytes.count < count {
    bytes.append(contentsOf: block)
    bytes[bytes.count - 509] = UInt8(truncatingIfNeeded: bytes.count >> 9)
    bytes[bytes.count - 508] = UInt8(truncatingIfNeeded: bytes.count >> 17)
  }
  bytes.removeLast(bytes.count - count)
  return bytes
}
