import Foundation
import FrontEndTestSupport
import Glibc
import Peers
import Testing
import VDPA
import VhostUser
import Virtio

/// `vdpad serve --type block` as a process, with a front-end that is written here.
@Suite(.serialized)
struct BlockServeTests {
  private static let features: Features = [.version1, .blockFlush, .blockDiscard, .blockWriteZeroes, .blockMultiqueue]
  private static let protocolFeatures: ProtocolFeatures = [
    .multiqueue, .replyAck, .memorySlots, .status, .configuration,
  ]

  /// A daemon on an image of its own.
  private struct Disk {
    let scratch: ScratchDirectory
    let image: String
    let daemon: Daemon

    init(sectors: Int = 128, _ options: String...) throws {
      scratch = try ScratchDirectory("block")
      image = scratch.file("disk.img")
      try Data(count: sectors * 512).write(to: URL(fileURLWithPath: image))
      daemon = try Daemon(["--type", "block", "--blk-file", image] + options)
    }

    func connect(without features: Features = []) throws -> (Guest, RawFrontEnd) {
      try BlockServeTests.connect(daemon.path, without: features)
    }

    var content: [UInt8] { (try? Array(Data(contentsOf: URL(fileURLWithPath: image)))) ?? [] }
  }

  /// A front-end with two rings, which run.
  private static func connect(_ path: String, without lacking: Features = []) throws -> (Guest, RawFrontEnd) {
    let guest = try Guest()
    let frontEnd = try RawFrontEnd(path: path)
    try frontEnd.negotiate(features: features.subtracting(lacking), protocolFeatures: protocolFeatures)
    guest.share(with: frontEnd)
    for ring in guest.rings { guest.start(ring, with: frontEnd) }
    frontEnd.send(.setStatus, bytes(0x0f))
    _ = try frontEnd.ask(.getStatus)
    return (guest, frontEnd)
  }

  private static func data(_ seed: UInt8) -> [UInt8] { (0..<512).map { UInt8(truncatingIfNeeded: $0) &* 7 &+ seed } }

  @Test(
    "Requests on several rings, one front-end after the other; what was written is in the image",
    arguments: [["--event"], ["--poll"], ["--blk-io", "threads"], ["simulator"]])
  func serves(options: [String]) async throws {
    try await blocking {
      let scratch = try ScratchDirectory("block")
      let image = scratch.file("disk.img")
      try Data(count: 128 * 512).write(to: URL(fileURLWithPath: image))
      let disk =
        options == ["simulator"]
        ? ["--engine", "simulator:type=block,file=\(image),serial=disk-1,order=out,latency=100"]
        : ["--blk-file", image, "--serial", "disk-1"] + options
      let daemon = try Daemon(["--type", "block", "--queues", "2"] + disk)
      let idle = try daemon.settledHoldings()
      for round in 0..<3 {
        let (guest, frontEnd) = try Self.connect(daemon.path)
        #expect(try frontEnd.ask(.getQueueNum) == 2)
        for ring in 0..<2 {
          let sector = UInt64(10 * round + ring)
          let data = Self.data(UInt8(sector))
          #expect(try guest.request(BlockRequest(.write, sector: sector).encoded + data, room: 1, ring: ring) == [0])
          #expect(try guest.request(BlockRequest(.flush).encoded, room: 1, ring: ring) == [0])
          #expect(
            try guest.request(BlockRequest(.read, sector: sector).encoded, room: 513, ring: 1 - ring) == data + [0])
          let name = try guest.request(BlockRequest(.getID).encoded, room: 21, ring: ring)
          #expect(String(decoding: name.prefix { $0 != 0 }, as: UTF8.self) == "disk-1")
          let content = try Data(contentsOf: URL(fileURLWithPath: image))
          #expect(Array(content[Int(sector) * 512..<Int(sector + 1) * 512]) == data)
        }
        // Four requests each, and two for the other ring's data.
        if round == 1 { #expect(try frontEnd.stop(0) == 4 && frontEnd.stop(1) == 4) }
        frontEnd.hangUp()
        #expect(daemon.settled(to: idle) == idle)
      }
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("The configuration space can be read in any pieces, zero behind its end, and not be written")
  func configuration() async throws {
    try await blocking {
      let disk = try Disk(sectors: 1000, "--queues", "3")
      let frontEnd = try RawFrontEnd(path: disk.daemon.path)
      try frontEnd.negotiate(features: Self.features, protocolFeatures: Self.protocolFeatures)
      func read(_ offset: Int, _ count: Int) throws -> [UInt8]? {
        let wanted = ConfigurationPayload(offset: UInt32(offset), bytes: Array(repeating: 0, count: count))
        frontEnd.send(.getConfiguration, wanted.encoded)
        let answer = try #require(try frontEnd.answer())
        guard !answer.payload.isEmpty else { return nil }
        let payload = try ConfigurationPayload(decoding: answer.payload)
        #expect(payload.offset == UInt32(offset))
        return payload.bytes
      }
      // What QEMU 7.2 asks for, what newer ones do, and all there can be.
      let whole = try #require(try read(0, 256))
      let space = try #require(BlockConfiguration(decoding: whole))
      #expect(space.capacity == 1000 && space.queueCount == 3 && space.segMax == 126 && space.writeZeroesMayUnmap == 1)
      #expect(Array(whole[60...]) == Array(repeating: 0, count: 196))
      for (offset, count) in [
        (0, 57), (0, 60), (0, 96), (0, 8), (8, 4), (20, 4), (34, 2), (56, 1), (59, 20), (255, 1), (256, 0),
      ] {
        #expect(try read(offset, count) == Array(whole[offset..<offset + count]))
      }
      // Whatever is written, whoever writes: there is no write cache to switch, and all else cannot be written at all.
      let write = ConfigurationPayload(offset: 32, bytes: [0])
      #expect(try !frontEnd.tell(.setConfiguration, write.encoded))
      #expect(try read(0, 256) == whole)
      #expect(try disk.daemon.end() == .exited(0))
    }
  }

  @Test("An image that is served can be written by nobody else; one that is read can be read by others")
  func locked() async throws {
    try await blocking {
      let disk = try Disk()
      for more in [[], ["--read-only"]] {
        let (status, output) = try Daemon.run(
          ["serve", "--socket-path", disk.scratch.file("other"), "--type", "block", "--blk-file", disk.image] + more)
        #expect(status == .exited(1))
        #expect(output.contains("other: \(disk.image): ") && output.contains("writ"), "\(output)")
      }
      #expect(try disk.daemon.end() == .exited(0))
      let readers = try (0..<2).map { _ in try Daemon("--type", "block", "--blk-file", disk.image, "--read-only") }
      for reader in readers { #expect(try reader.end() == .exited(0)) }
    }
  }

  @Test("A read-only device says so, and writes nothing")
  func readOnly() async throws {
    try await blocking {
      let disk = try Disk(sectors: 128, "--read-only", "--queues", "2")
      let (guest, frontEnd) = try disk.connect(without: [.blockDiscard, .blockWriteZeroes])
      #expect(Features(rawValue: try frontEnd.ask(.getFeatures)).contains(.blockReadOnly))
      #expect(try guest.request(BlockRequest(.write).encoded + Self.data(1), room: 1) == [BlockStatus.ioError.rawValue])
      #expect(try guest.request(BlockRequest(.read).encoded, room: 513) == Array(repeating: 0, count: 513))
      #expect(disk.content == Array(repeating: 0, count: 128 * 512))
      try disk.daemon.process.waitForText("vring 0: OUT of 512 bytes at sector 0: the device is read-only")
      #expect(try disk.daemon.end() == .exited(0))
    }
  }

  @Test(
    "An image that shrinks while it is served: I/O errors for the guest, one line for the operator, and no end of it")
  func failing() async throws {
    try await blocking {
      let disk = try Disk(sectors: 128, "--queues", "2")
      let (guest, frontEnd) = try disk.connect()
      #expect(try guest.request(BlockRequest(.read, sector: 100).encoded, room: 513).last == 0)
      #expect(unsafe truncate(disk.image, 512) == 0)
      let mark = disk.daemon.process.mark
      for i in 0..<500 {
        let answer = try guest.request(BlockRequest(.read, sector: UInt64(1 + i % 100)).encoded, room: 513, ring: i % 2)
        #expect(answer.last == BlockStatus.ioError.rawValue)
      }
      let reason = "\(disk.image): the file ends 512 bytes early; has it been truncated?"
      try disk.daemon.process.waitForText(reason, since: mark)
      // A line a second at most; 500 requests take a few.
      #expect(disk.daemon.process.output(since: mark).split(separator: "\n").count { $0.contains(reason) } < 60)
      // What is left of it is served.
      #expect(try guest.request(BlockRequest(.read).encoded, room: 513).last == 0)
      #expect(try guest.request(BlockRequest(.write, sector: 127).encoded + Self.data(3), room: 1) == [0])
      #expect(try guest.request(BlockRequest(.read, sector: 127).encoded, room: 513) == Self.data(3) + [0])
      frontEnd.hangUp()
      #expect(try disk.daemon.end() == .exited(0))
    }
  }

  @Test(
    "A file that may not be written that far: an I/O error with its reason, and the daemon lives",
    arguments: ["uring", "threads"])
  func limited(way: String) async throws {
    try await blocking {
      let scratch = try ScratchDirectory("block")
      let image = scratch.file("disk.img")
      try Data(count: 128 * 512).write(to: URL(fileURLWithPath: image))
      let path = scratch.file("sock")
      let process = try PeerProcess(
        "prlimit",
        [
          "--fsize=32768", PeerProcess.builtProgram("vdpad"), "serve", "--type", "block", "--socket-path", path,
          "--blk-file", image, "--blk-io", way, "--queues", "2",
        ], hint: "package util-linux installs it")
      try process.waitForText("listening")
      let (guest, frontEnd) = try Self.connect(path)
      #expect(try guest.request(BlockRequest(.write, sector: 63).encoded + Self.data(1), room: 1) == [0])
      let failed = try guest.request(BlockRequest(.write, sector: 64).encoded + Self.data(2), room: 1)
      #expect(failed == [BlockStatus.ioError.rawValue])
      try process.waitForText("OUT of 512 bytes at sector 64: \(image): File too large")
      #expect(try guest.request(BlockRequest(.read, sector: 63).encoded, room: 513) == Self.data(1) + [0])
      frontEnd.hangUp()
      #expect(process.terminate() == .exited(0))
    }
  }

  @Test("--stats names the rings of a block device as its users do")
  func statistics() async throws {
    try await blocking {
      let disk = try Disk(sectors: 128, "--queues", "2", "--stats", "1")
      let (guest, frontEnd) = try disk.connect()
      for _ in 0..<3 { _ = try guest.request(BlockRequest(.flush).encoded, room: 1, ring: 1) }
      _ = try disk.daemon.process.waitForMatch(of: #/ vq0 +0 +0 /#)
      _ = try disk.daemon.process.waitForMatch(of: #/ vq1 +3 +51 /#)
      frontEnd.hangUp()
      #expect(try disk.daemon.end() == .exited(0))
    }
  }
}
