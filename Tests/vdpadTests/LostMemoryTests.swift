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

/// Memory that its owner takes away while it is in use: the connection ends with the region's name, the process goes on and
/// keeps nothing; and memory of unusual kinds that is as good as any.
@Suite(.serialized)
struct LostMemoryTests {
  private static let ways = [["--event"], ["--poll"], ["--engine", "simulator"]]

  init() throws { try BusErrorGuard.install() }

  /// Waits for the end of a connection whose memory is gone.
  private static func expectLoss(
    _ guest: Guest, _ frontEnd: RawFrontEnd, _ daemon: Daemon, since mark: Int, _ name: Comment
  ) throws {
    #expect(try frontEnd.isClosed(), name)
    try daemon.process.waitForText("memory region", since: mark)
    try daemon.process.waitForText("0x40000000", since: mark)
    try daemon.process.waitForText("is gone under the device", since: mark)
    frontEnd.hangUp()
  }

  @Test(
    "A memory file that is truncated under traffic, whole or in part", arguments: ways, RingLayout.Format.allCases)
  func truncated(options: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(["--queues", "2"] + options)
      let idle = try daemon.settledHoldings()
      try behaveWell(at: daemon.path, queues: 2, format: format)
      for round in 0..<12 {
        let guest = try Guest(queues: 2, format: format)
        let frontEnd = try RawFrontEnd(path: daemon.path)
        try guest.run(with: frontEnd)
        for i in 0..<2 { #expect(try guest.exchange([1], pair: i) == [1]) }
        let mark = daemon.process.mark
        for pair in 0..<2 {
          // One more buffer than packets: the device goes on looking for some.
          try guest.postEmpty(guest.rings[2 * pair])
          for _ in 0..<8 {
            try guest.postEmpty(guest.rings[2 * pair])
            try guest.postPacket(guest.rings[2 * pair + 1], Array(repeating: 7, count: 300))
          }
        }
        usleep(useconds_t(round * 10))
        let ring = guest.rings[round % 3]
        let place = [0, ring.places.avail, ring.places.used, ring.places.buffers][round % 4]
        try guest.truncate(to: round % 4 == 0 ? 0 : ring.base - Guest.guestBase + place)
        for ring in guest.rings { EventFD.signal(ring.kick) }
        try Self.expectLoss(guest, frontEnd, daemon, since: mark, "round \(round), \(format) \(options)")
        #expect(daemon.settled(to: idle) == idle, "round \(round)")
        try behaveWell(at: daemon.path, queues: 2, format: format)
      }
      #expect(daemon.process.exitStatus == nil)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "A block device whose data is gone, with all else in place: no system call says more than that it failed",
    arguments: ["uring", "threads"], RingLayout.Format.allCases)
  func blockData(way: String, format: RingLayout.Format) async throws {
    try await blocking {
      let scratch = try ScratchDirectory("block")
      let image = scratch.file("disk.img")
      try Data(count: 128 * 512).write(to: URL(fileURLWithPath: image))
      for kind in [BlockRequest.Kind.read, .write] {
        let daemon = try Daemon("--type", "block", "--blk-file", image, "--blk-io", way, "--queues", "2")
        let idle = try daemon.settledHoldings()
        let guest = try Guest(format: format)
        let frontEnd = try RawFrontEnd(path: daemon.path)
        try frontEnd.negotiate(
          features: Features([.version1, .blockFlush]).union(format == .packed ? [.packedRing] : []),
          protocolFeatures: [.multiqueue, .replyAck, .memorySlots, .status, .configuration])
        guest.share(with: frontEnd)
        for ring in guest.rings { guest.start(ring, with: frontEnd) }
        frontEnd.send(.setStatus, bytes(0x0f))
        _ = try frontEnd.ask(.getStatus)
        #expect(try guest.request(BlockRequest(.read, sector: 1).encoded, room: 513).last == 0)

        let mark = daemon.process.mark
        let (ring, other) = (guest.rings[0], guest.rings[1])
        guest.write(BlockRequest(kind, sector: 2).encoded, at: ring.firstBuffer)
        try guest.truncate(to: other.firstBuffer - Guest.guestBase)
        guest.post(
          ring,
          [
            .init(address: ring.firstBuffer, length: 16, isWritable: false),
            .init(address: other.firstBuffer, length: 4096, isWritable: kind == .read),
            .init(address: ring.firstBuffer + 512, length: 1, isWritable: true),
          ], buffer: ring.firstBuffer)
        try Self.expectLoss(guest, frontEnd, daemon, since: mark, "\(kind) \(way) \(format)")
        try daemon.process.waitForText("Bad address", since: mark)
        #expect(daemon.settled(to: idle) == idle)
        #expect(try daemon.end() == .exited(0))
      }
    }
  }

  @Test(
    "A block device whose rings are gone under requests", arguments: [["--event"], ["--poll"]],
    RingLayout.Format.allCases)
  func blockRings(options: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let scratch = try ScratchDirectory("block")
      let image = scratch.file("disk.img")
      try Data(count: 128 * 512).write(to: URL(fileURLWithPath: image))
      let daemon = try Daemon(["--type", "block", "--blk-file", image, "--queues", "2"] + options)
      let idle = try daemon.settledHoldings()
      for round in 0..<6 {
        let guest = try Guest(format: format)
        let frontEnd = try RawFrontEnd(path: daemon.path)
        try frontEnd.negotiate(
          features: Features([.version1, .blockFlush]).union(format == .packed ? [.packedRing] : []),
          protocolFeatures: [.multiqueue, .replyAck, .memorySlots, .status, .configuration])
        guest.share(with: frontEnd)
        for ring in guest.rings { guest.start(ring, with: frontEnd) }
        frontEnd.send(.setStatus, bytes(0x0f))
        _ = try frontEnd.ask(.getStatus)
        let mark = daemon.process.mark
        for ring in guest.rings {
          guest.write(BlockRequest(.read, sector: 1).encoded, at: ring.firstBuffer)
          for _ in 0..<4 {
            guest.post(
              ring,
              [
                .init(address: ring.firstBuffer, length: 16, isWritable: false),
                .init(address: ring.firstBuffer + 4096, length: 513, isWritable: true),
              ], buffer: ring.firstBuffer)
          }
        }
        usleep(useconds_t(round * 20))
        try guest.truncate(to: 0)
        for ring in guest.rings { EventFD.signal(ring.kick) }
        try Self.expectLoss(guest, frontEnd, daemon, since: mark, "round \(round) \(options) \(format)")
        #expect(daemon.settled(to: idle) == idle)
      }
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "A tmpfs that is full when a page is due", .enabled(if: MountedFolder.isPossible, "needs the superuser"))
  func fullFileSystem() async throws {
    try await blocking {
      let daemon = try Daemon()
      let idle = try daemon.settledHoldings()
      let folder = try MountedFolder("tmpfs", options: "size=1m")
      let guest = try Guest(file: OwnedFD(adopting: try folder.makeFile("memory")))
      let frontEnd = try RawFrontEnd(path: daemon.path)
      try guest.run(with: frontEnd)
      // The rings have their pages, and two buffers; the other buffers are holes still.
      #expect(try guest.exchange([1]) == [1])
      for i in 0..<6 { try guest.postPacket(guest.rings[1], Array(repeating: UInt8(i), count: 1000)) }
      let ballast = try folder.makeFile("ballast")
      let page = [UInt8](repeating: 1, count: 4096)
      while let count = try? ballast.writeAll(page), count == page.count {}
      try ballast.close()
      let mark = daemon.process.mark
      for _ in 0..<6 { try guest.postEmpty(guest.rings[0]) }
      try Self.expectLoss(guest, frontEnd, daemon, since: mark, "full")
      #expect(daemon.settled(to: idle) == idle)
      try behaveWell(at: daemon.path)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("Memory with holes, in /dev/shm, sealed against shrinking: served like any other")
  func good() async throws {
    try await blocking {
      let daemon = try Daemon()
      let shared = FilePath("/dev/shm/vdpa-test-\(getpid())")
      let inShm = OwnedFD(
        adopting: try .open(shared, .readWrite, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite))
      _ = unsafe unlink(shared.string)
      for (guest, isSealed) in [(try Guest(), false), (try Guest(file: inShm), false), (try Guest(), true)] {
        if isSealed {
          try Seals.add(Seals.shrink | Seals.grow, to: guest.file)
          #expect(throws: Errno.notPermitted) { try guest.truncate(to: 0) }
        }
        let frontEnd = try RawFrontEnd(path: daemon.path)
        try guest.run(with: frontEnd)
        for i in 0..<50 {
          for ring in guest.rings {
            let offset = ring.firstBuffer - Guest.guestBase
            let length = ring.base + ring.places.stride - ring.firstBuffer
            #expect(clinux_allocate(guest.file.rawValue, CLINUX_PUNCH_HOLE, offset, length) == 0)
          }
          #expect(try guest.exchange([UInt8(i), 1]) == [UInt8(i), 1])
        }
        frontEnd.hangUp()
      }
      #expect(!daemon.process.output().contains("is gone"))
      #expect(try daemon.end() == .exited(0))
    }
  }
}
