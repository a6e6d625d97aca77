import Glibc
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Many requests at a time: submitted together, told of together, and whoever looks by himself is not woken.
@Suite struct BlockBatchTests {
  /// Operations on a file without a queue.
  private struct Bench {
    let opened: BlockFile
    let io: any BlockIO
    let arena: TestArena

    init(_ way: IOUnderTest, _ file: TestFile, depth: Int = 32) throws {
      opened = try file.open()
      io = try way.make(opened, depth: depth)
      arena = try TestArena()
    }

    func vectors(_ offset: Int, _ count: Int = 512) -> BlockVectors {
      let vectors = BlockVectors()
      unsafe vectors.set([iovec(iov_base: arena.pointer(offset), iov_len: count)])
      return vectors
    }

    /// Looks until that many have completed.
    func look(for count: Int) throws -> [BlockCompletion] {
      var found: [BlockCompletion] = []
      let end = MonotonicClock.nanoseconds + 10_000_000_000
      while found.count < count {
        if io.reap({ found.append($0) }) == 0 { sched_yield() }
        try #require(MonotonicClock.nanoseconds < end, "\(found.count) of \(count) operations have completed")
      }
      return found
    }
  }

  /// Waits until something is so.
  private func wait(for condition: () -> Bool) throws {
    let end = MonotonicClock.nanoseconds + 10_000_000_000
    while !condition() {
      try #require(MonotonicClock.nanoseconds < end)
      sched_yield()
    }
  }

  @Test("All requests of a turn are handed to the system in one go, and so are those that waited for others")
  func submissions() throws {
    let io = try ScriptedIO(depth: 16)
    let bench = try BlockQueueUnderTest(try TestFile(sectors: 64)) { _ in io }
    let made = (0..<24).map { bench.make(BlockRequest(.read, sector: $0).encoded, room: 513) }
    #expect(io.batches.isEmpty)
    for request in made { #expect(try bench.wait(for: request).status == .ok) }
    #expect(io.batches == [16, 8])
  }

  @Test("The requests of a turn come back with one announcement and one call", arguments: SoftwareDeviceTests.formats)
  func calls(features: Features) throws {
    let file = try TestFile(sectors: 64)
    var made: [ScriptedIO] = []
    let device = try SoftwareBlockDevice(
      DeviceRequest(device: -1, owner: "guest", type: .block, parameters: ["blk-file": file.path])
    ) { _, _, _ in
      made = [try ScriptedIO()]
      return made
    }
    let io = try #require(made.first)
    io.hold { _ in true }
    let guest = try ChainGuest(device, features: features, ringSize: 64)
    defer { guest.end() }
    let ids = (0..<16).map { guest.post(BlockRequest(.read, sector: $0).encoded, room: 513) }
    #expect(!ids.contains(nil))
    guest.kick()
    try wait { io.heldCount == 16 }
    let call = try #require(guest.rings[0].call)
    _ = EventFD.drain(call)
    io.release()
    #expect(try guest.collect(16).allSatisfy { $0.written.last == BlockStatus.ok.rawValue })
    // While there is something to do nobody is to wake the worker, and before it sleeps somebody is.
    try wait { io.wanted.last == true }
    #expect(io.wanted.first == false)
    _ = try guest.device.close()
    #expect(EventFD.drain(call) == 1)
  }

  @Test(
    "Who does not want to be woken is not, and finds all by looking; asked for, wakeups come",
    arguments: IOUnderTest.allCases)
  func quiet(way: IOUnderTest) throws {
    for place in TestFile.Place.allCases {
      let bench = try Bench(way, try TestFile(sectors: 64, in: place))
      let vectors = (0..<32).map { bench.vectors($0 * 512) }
      func run(_ kind: BlockOperation.Kind) throws -> UInt64 {
        for i in 0..<32 {
          bench.io.prepare(
            BlockOperation(kind: kind, memory: vectors[i].next, offset: UInt64(i * 512), tag: UInt64(i)))
        }
        #expect(bench.io.submit() && bench.io.underWay == 32)
        #expect(Set(try bench.look(for: 32).map(\.tag)).count == 32)
        #expect(bench.io.underWay == 0)
        // A thread may be about to wake for what was found already: when nothing is under way it ends first.
        return EventFD.drain(bench.io.wakeup)
      }
      bench.io.wantWakeups(false)
      for kind in [BlockOperation.Kind.write, .read, .sync] { #expect(try run(kind) == 0, "\(kind)") }
      bench.io.wantWakeups(true)
      for kind in [BlockOperation.Kind.write, .read] {
        bench.io.prepare(BlockOperation(kind: kind, memory: vectors[0].next))
        #expect(bench.io.submit())
        let epoll = try Epoll()
        try epoll.add(bench.io.wakeup.descriptor, token: 0, interest: .readable)
        try sleep(epoll)
        #expect(try bench.look(for: 1).first?.result == 512)
        _ = EventFD.drain(bench.io.wakeup)
      }
    }
  }

  @Test("Of completions that follow one another every eighth wakes, and the last one")
  func announcements() throws {
    let completions = BlockCompletions(wakeup: try EventFD.make())
    func add(_ count: Int, isMore: Bool) -> UInt64 {
      for i in 0..<count { completions.add(BlockCompletion(tag: UInt64(i), result: 0), isMore: isMore) }
      return EventFD.drain(completions.wakeup)
    }
    #expect(add(7, isMore: true) == 0)
    #expect(add(1, isMore: true) == 1)
    #expect(add(15, isMore: true) == 1)
    #expect(add(1, isMore: false) == 1)
    #expect(add(7, isMore: true) == 0)
    completions.wantWakeups(false)
    #expect(add(1, isMore: false) == 0)
    completions.wantWakeups(true)
    #expect(add(1, isMore: false) == 1)
    var all: [BlockCompletion] = []
    completions.take(into: &all)
    #expect(all.count == 33)
  }

  @Test("Completions for which the ring has no room are kept, and all are found", arguments: [IOUnderTest.ring])
  func overflow(way: IOUnderTest) throws {
    let depth = 32
    // What is in the page cache of a disk is there when it has been submitted.
    let file = try TestFile(sectors: 64, in: .disk)
    try file.write(pattern(64 * 512))
    let bench = try Bench(way, file, depth: depth)
    let vectors = bench.vectors(0)
    // The ring for completions has room for twice the depth.
    for round in 0..<6 {
      for i in 0..<depth {
        bench.io.prepare(
          BlockOperation(kind: .read, memory: vectors.next, offset: UInt64(i * 512), tag: UInt64(round * depth + i)))
      }
      while !bench.io.submit() { sched_yield() }
    }
    #expect(Set(try bench.look(for: 6 * depth).map(\.tag)).count == 6 * depth)
    #expect(bench.io.underWay == 0 && bench.io.reap { _ in } == 0)
  }

  @Test(
    "Queues that are served by several threads at once read and write one file, each what it should",
    arguments: [BlockIOKind.uring, .threads])
  func sharedFile(kind: BlockIOKind) async throws {
    let (queues, requests) = (4, 64)
    let file = try TestFile(sectors: queues * requests)
    let medium = BlockMedium(try file.open(), id: [])
    let made = try BlockIOKind.make(kind, file: medium.file, queues: queues)
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for index in 0..<queues {
        let io = made[index]
        group.addTask {
          let queue = BlockQueue<TestBuffers>(index: index, medium: medium, io: io)
          queue.start(features: .blockFlush)
          let arena = try TestArena()
          var left = 0
          func run(_ readable: [UInt8], room: Int) -> Int {
            let from = TestBuffers.Piece(offset: arena.take(readable.count), count: readable.count)
            let to = TestBuffers.Piece(offset: arena.take(room), count: room)
            arena.write(readable, at: from.offset)
            left += 1
            queue.process(TestBuffers(arena: arena, readable: [from], writable: [to]) { _ in left -= 1 })
            return to.offset
          }
          func finish() throws {
            let end = MonotonicClock.nanoseconds + 10_000_000_000
            while left > 0 {
              if queue.service() == 0 { sched_yield() }
              try #require(MonotonicClock.nanoseconds < end, "\(left) requests have not come back")
            }
          }
          func sector(_ i: Int) -> UInt64 { UInt64(i * queues + index) }
          func data(_ i: Int) -> [UInt8] { pattern(512, seed: UInt8(index * 50 + i)) }
          for i in 0..<requests { _ = run(BlockRequest(.write, sector: sector(i)).encoded + data(i), room: 1) }
          try finish()
          let places = (0..<requests).map { run(BlockRequest(.read, sector: sector($0)).encoded, room: 513) }
          _ = run(BlockRequest(.flush).encoded, room: 1)
          try finish()
          return (0..<requests).allSatisfy { arena.read(places[$0], 513) == data($0) + [BlockStatus.ok.rawValue] }
        }
      }
      for try await isRight in group { #expect(isRight) }
    }
    for i in 0..<requests {
      for index in 0..<queues {
        let written = try file.read(at: (i * queues + index) * 512, count: 512)
        #expect(written == pattern(512, seed: UInt8(index * 50 + i)))
      }
    }
  }

  @Test("Memory that is taken away is let go of, though requests are used again for others")
  func memory() throws {
    let file = try TestFile(sectors: 64)
    let device = try SoftwareBlockDevice(
      DeviceRequest(device: -1, owner: "guest", type: .block, parameters: ["blk-file": file.path]))
    let guest = try ChainGuest(device, features: [.version1], ringSize: 64)
    defer { guest.end() }
    func run() throws {
      for i in 0..<16 { _ = guest.post(BlockRequest(.read, sector: UInt64(i)).encoded, room: 513) }
      guest.kick()
      _ = try guest.collect(16)
    }
    try run()
    weak let old = guest.memory
    #expect(old != nil)
    try guest.replaceMemory()
    #expect(old == nil)
    try run()
    weak let last = guest.memory
    _ = try guest.device.close()
    guest.memory = try GuestMemory.table([])
    #expect(last == nil)
  }
}
