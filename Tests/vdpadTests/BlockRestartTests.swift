import CLinux
import Foundation
import FrontEndTestSupport
import Glibc
import Peers
import SystemPackage
import Testing
import VDPA
import VhostUser
import Virtio

/// `vdpad serve --type block` ends with requests under way, and is started again: the front-end has kept the record of what
/// was in flight, and nothing is lost (vhost-user, Inflight I/O tracking).
@Suite(.serialized)
struct BlockRestartTests {
  private static let protocolFeatures: ProtocolFeatures = [
    .multiqueue, .replyAck, .memorySlots, .status, .configuration, .inflightSharedMemory,
  ]
  private static let ringSize = 64
  /// Writes and a flush, on each ring.
  private static let writes = 7
  private static let resubmitted = "requests were in flight when their back-end ended"

  /// A guest with the record that outlives its back-ends.
  private struct Machine {
    let scratch: ScratchDirectory
    let image: String
    let guest: Guest
    var record: (payload: InflightPayload, file: OwnedFD)?
    let options: [String]

    init(format: RingLayout.Format, _ options: String...) throws {
      scratch = try ScratchDirectory("restart")
      image = scratch.file("disk.img")
      try Data(count: 4096 * 512).write(to: URL(fileURLWithPath: image))
      guest = try Guest(format: format, ringSize: BlockRestartTests.ringSize)
      self.options = ["--type", "block", "--blk-file", image, "--queues", "2"] + options
    }

    /// Starts the daemon and connects. What is said of positions is what was true at the very beginning.
    mutating func start() throws -> (Daemon, RawFrontEnd) {
      let daemon = try Daemon(options)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      var features: Features = [.version1, .blockFlush, .blockMultiqueue]
      if guest.format == .packed { features.insert(.packedRing) }
      try frontEnd.negotiate(features: features, protocolFeatures: BlockRestartTests.protocolFeatures)
      let record = try self.record ?? frontEnd.makeInflightRecord(queues: 2, queueSize: BlockRestartTests.ringSize)
      self.record = record
      #expect(try frontEnd.setInflightRecord(record.payload, record.file))
      guest.share(with: frontEnd)
      for ring in guest.rings { guest.start(ring, with: frontEnd) }
      frontEnd.send(.setStatus, bytes(0x0f))
      _ = try frontEnd.ask(.getStatus)
      return (daemon, frontEnd)
    }

    /// Gives the device writes and a flush on both rings, and waits for none.
    func post(round: Int) throws -> [(ring: Int, status: UInt64)] {
      var posted: [(Int, UInt64)] = []
      for i in 0...BlockRestartTests.writes {
        for ring in 0..<2 {
          let readable = guest.rings[ring].firstBuffer + UInt64(2 * i) * UInt64(Guest.bufferLength)
          let status = readable + UInt64(Guest.bufferLength)
          let request =
            i == BlockRestartTests.writes
            ? BlockRequest(.flush).encoded
            : BlockRequest(.write, sector: UInt64(sector(round, ring, i))).encoded + data(round, ring, i)
          guest.write(request, at: readable)
          guest.write([0xff], at: status)
          guest.post(
            guest.rings[ring],
            [
              .init(address: readable, length: UInt32(request.count), isWritable: false),
              .init(address: status, length: 1, isWritable: true),
            ], buffer: status)
          posted.append((ring, status))
        }
      }
      return posted
    }

    func sector(_ round: Int, _ ring: Int, _ i: Int) -> Int { (round * 2 + ring) * BlockRestartTests.writes + i }
    func data(_ round: Int, _ ring: Int, _ i: Int) -> [UInt8] {
      (0..<512).map { UInt8(truncatingIfNeeded: $0 * 7 + round * 31 + ring * 13 + i + 1) }
    }

    /// Waits for all requests, each of which comes back once and has succeeded.
    func finish(_ posted: [(ring: Int, status: UInt64)], round: Int) throws {
      for ring in 0..<2 {
        let wanted = posted.filter { $0.ring == ring }.map(\.status)
        var back: [UInt64] = []
        for _ in wanted { back.append(try #require(try guest.take(from: guest.rings[ring])).address) }
        #expect(back.sorted() == wanted.sorted())
        #expect(wanted.allSatisfy { guest.read($0, count: 1) == [0] })
      }
      let content = try Array(Data(contentsOf: URL(fileURLWithPath: image)))
      for ring in 0..<2 {
        for i in 0..<BlockRestartTests.writes {
          let start = sector(round, ring, i) * 512
          #expect(Array(content[start..<start + 512]) == data(round, ring, i), "round \(round) ring \(ring) write \(i)")
        }
      }
    }
  }

  @Test(
    "Killed with writes in flight: every one is done, and comes back once", arguments: RingLayout.Format.allCases,
    ["uring", "threads"])
  func killed(format: RingLayout.Format, way: String) async throws {
    try await blocking {
      var machine = try Machine(format: format, "--blk-io", way)
      var (daemon, frontEnd) = try machine.start()
      var kills = 0
      // A kill may come too early or too late to find something in flight.
      for round in 0..<40 where kills < 3 {
        let posted = try machine.post(round: round)
        usleep(UInt32(round % 8) * 100)
        daemon.process.signal(SIGKILL)
        _ = try daemon.process.waitForExit(timeout: .seconds(10))
        frontEnd.hangUp()
        (daemon, frontEnd) = try machine.start()
        try machine.finish(posted, round: round)
        if daemon.process.output().contains(Self.resubmitted) { kills += 1 }
      }
      #expect(kills == 3)
      frontEnd.hangUp()
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "Ended in good order: what was in flight is done first, and nothing is done again",
    arguments: RingLayout.Format.allCases)
  func ended(format: RingLayout.Format) async throws {
    try await blocking {
      var machine = try Machine(format: format)
      var (daemon, frontEnd) = try machine.start()
      for round in 0..<4 {
        let posted = try machine.post(round: round)
        if round % 2 == 0 {
          #expect(try daemon.end() == .exited(0))
        } else {
          for ring in 0..<2 { _ = try frontEnd.stop(ring) }
          #expect(try daemon.end() == .exited(0))
        }
        frontEnd.hangUp()
        (daemon, frontEnd) = try machine.start()
        try machine.finish(posted, round: round)
        #expect(!daemon.process.output().contains(Self.resubmitted))
      }
      frontEnd.hangUp()
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("A record that is truncated while it is used ends the connection, and not the daemon")
  func truncated() async throws {
    try await blocking {
      var machine = try Machine(format: .split)
      let layout = try InflightLayout(.split, queues: 2, queueSize: BlockRestartTests.ringSize)
      let size = UInt64(layout.bytes)
      let file = OwnedFD(adopting: FileDescriptor(rawValue: unsafe clinux_memfd("record")))
      try #require(ftruncate(file.rawValue, off_t(size)) == 0)
      machine.record = (InflightPayload(size: size, queues: 2, queueSize: UInt16(BlockRestartTests.ringSize)), file)
      let (daemon, frontEnd) = try machine.start()
      try #require(ftruncate(file.rawValue, 0) == 0)
      _ = try machine.post(round: 0)
      #expect(try frontEnd.isClosed())
      try daemon.process.waitForText("the in-flight record of 2 rings is gone")
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "Records that are made and brought over and over leave no descriptor and no mapping (CVE-2020-10726, CVE-2022-0669)"
  )
  func repeated() async throws {
    try await blocking {
      var machine = try Machine(format: .split)
      let (daemon, frontEnd) = try machine.start()
      for ring in 0..<2 { _ = try frontEnd.stop(ring) }
      let before = try daemon.settledHoldings()
      for i in 0..<1000 {
        let record = try frontEnd.makeInflightRecord(queues: 2, queueSize: BlockRestartTests.ringSize)
        #expect(try frontEnd.setInflightRecord(record.payload, record.file))
        // One that is refused, with its descriptor.
        var small = record.payload
        small.size = UInt64(i % 64)
        #expect(try !frontEnd.setInflightRecord(small, record.file))
      }
      #expect(daemon.settled(to: before) == before)
      frontEnd.hangUp()
      // A descriptor where there is to be none goes with the connection.
      _ = becomesTrue { daemon.holdings.mappings == 0 }
      let idle = try daemon.settledHoldings().descriptors
      for _ in 0..<50 {
        let next = try RawFrontEnd(path: daemon.path)
        try next.negotiate(features: [.version1], protocolFeatures: BlockRestartTests.protocolFeatures)
        let attached = try EventFD.make()
        next.send(
          .getInflightFD, InflightPayload(queues: 2, queueSize: UInt16(BlockRestartTests.ringSize)).encoded,
          descriptors: [attached.rawValue])
        #expect(try next.isClosed())
        next.hangUp()
      }
      #expect(becomesTrue { daemon.holdings.descriptors <= idle })
      #expect(try daemon.end() == .exited(0))
    }
  }
}
