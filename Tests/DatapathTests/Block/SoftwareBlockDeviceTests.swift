import Glibc
import Synchronization
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import Datapath

/// The block device on rings, with the workers that serve them.
@Suite struct SoftwareBlockDeviceTests {
  private static let formats = SoftwareDeviceTests.formats.map {
    $0.union([.blockFlush, .blockDiscard, .blockWriteZeroes])
  }

  private static func request(_ parameters: Parameters, queues: Int? = nil) -> DeviceRequest {
    DeviceRequest(device: -1, owner: "vm0", type: .block, queues: queues, parameters: parameters)
  }

  /// A device on a file whose operations a test can hold up.
  private static func held(_ file: TestFile, queues: Int = 1) throws -> (SoftwareBlockDevice, [ScriptedIO]) {
    var operations: [ScriptedIO] = []
    let device = try SoftwareBlockDevice(request(["blk-file": file.path], queues: queues)) { kind, file, queues in
      operations = try BlockIOKind.make(kind, file: file, queues: queues).map { try ScriptedIO(over: $0) }
      return operations
    }
    return (device, operations)
  }

  /// The data and the status of a request that has come back.
  private static func split(_ written: [UInt8]) -> ([UInt8], BlockStatus?) {
    (Array(written.dropLast()), written.last.map { BlockStatus(rawValue: $0) })
  }

  // MARK: What it is

  @Test("An engine makes one of its parameters, and lets go of the file with it")
  func parameters() throws {
    let engine = try SoftwareEngine()
    defer { engine.stop() }
    let file = try TestFile(sectors: 100)
    for _ in 0..<2 {
      let device = try engine.open(Self.request(["blk-file": file.path], queues: 3))
      let attributes = device.attributes
      #expect(attributes.type == .block && attributes.vringCount == 3 && attributes.queueCount == 3)
      #expect(
        attributes.features.isSuperset(of: [
          .version1, .packedRing, .indirectDescriptors, .eventIndex, .blockFlush, .blockMultiqueue, .blockDiscard,
          .blockWriteZeroes, .blockSegMax, .blockSize, .blockTopology,
        ]))
      #expect(attributes.features.isDisjoint(with: [.blockReadOnly, .blockConfigWCE, .blockGeometry, .blockSizeMax]))
      #expect(attributes.protocolFeatures.contains(.configuration) && !attributes.completesInOrder)
      let space = try #require(BlockConfiguration(decoding: device.capabilities.configuration?.bytes ?? []))
      #expect(space.capacity == 100 && space.queueCount == 3)
      #expect(throws: DatapathError.self) { try engine.open(Self.request(["blk-file": file.path])) }
    }
    let readOnly = try engine.open(Self.request(["blk-file": file.path, "read-only": "true"]))
    #expect(readOnly.attributes.features.contains(.blockReadOnly) && readOnly.attributes.vringCount == 1)
    #expect(readOnly.attributes.features.isDisjoint(with: [.blockDiscard, .blockWriteZeroes, .blockMultiqueue]))
  }

  @Test(
    "A parameter that it does not know, or a value that it cannot take, is refused by name",
    arguments: [
      ([:], "blk-file=PATH"), (["blk-file": ""], "blk-file=PATH"), (["blk-file": "/x", "port": "sink"], "\"port\""),
      (["blk-file": "/no/such/file"], "vm0: /no/such/file: it cannot be opened: No such file"),
      (["blk-file": "/dev/null"], "vm0: /dev/null: it is neither a regular file nor a block device"),
      (["blk-file": "/x", "read-only": "yes"], "read-only=yes"), (["blk-file": "/x", "io": "fast"], "io=fast"),
      (["blk-file": "/x", "serial": "123456789012345678901"], "serial=123456789012345678901"),
      (["blk-file": "/x", "serial": "ü"], "serial=ü"), (["blk-file": "/x", "serial": "a\nb"], "serial="),
    ] as [([String: String], String)])
  func refused(parameters: [String: String], named: String) {
    #expect {
      try SoftwareBlockDevice(Self.request(Parameters(parameters)))
    } throws: {
      "\($0)".contains(named)
    }
  }

  @Test("Queue counts that nobody can ask for are refused", arguments: [Int.min, -1, 0, 257, Int.max])
  func queues(count: Int) throws {
    let file = try TestFile()
    #expect {
      try SoftwareBlockDevice(Self.request(["blk-file": file.path], queues: count))
    } throws: {
      "\($0)".contains("1 to 256")
    }
  }

  @Test("Without io_uring there are threads, unless io_uring was asked for; what runs out later is an error")
  func fallback() throws {
    let file = try TestFile().open()
    for error in [Errno.notPermitted, .noFunction, .noMemory] {
      let refuse: BlockIOKind.Ring = { _, _, _ throws(Errno) in throw error }
      let made = try BlockIOKind.make(nil, file: file, queues: 2, ring: refuse)
      #expect(made.count == 2 && made.allSatisfy { $0 is ThreadIO })
      let wanted = #expect(throws: DatapathError.self) {
        try BlockIOKind.make(.uring, file: file, queues: 2, ring: refuse)
      }
      #expect(wanted?.code == .system && wanted?.message.contains("\(error)") == true)
      var left = 1
      #expect(throws: DatapathError.self) {
        try BlockIOKind.make(nil, file: file, queues: 2) { file, depth, helper throws(Errno) in
          guard left > 0 else { throw error }
          left -= 1
          return try UringIO(file: file, depth: depth, threads: helper)
        }
      }
    }
    #expect(try BlockIOKind.make(.threads, file: file, queues: 1).allSatisfy { $0 is ThreadIO })
    // This machine has io_uring, so that what the other tests show of it is shown of it.
    #expect(try BlockIOKind.make(nil, file: file, queues: 2).allSatisfy { $0 is UringIO })
  }

  // MARK: Requests on rings

  @Test(
    "Requests go through rings of every format, cut in any way, by workers that sleep and that poll",
    arguments: formats, [.event, .poll] as [WorkerConfiguration.Mode])
  func rings(features: Features, mode: WorkerConfiguration.Mode) throws {
    for io in ["uring", "threads"] {
      let file = try TestFile(sectors: 64)
      let device = try SoftwareBlockDevice(
        Self.request(["blk-file": file.path, "serial": "disk 7", "io": io], queues: 2))
      let guest = try ChainGuest(device, features: features, mode: mode)
      defer { guest.end() }
      for ring in 0..<2 {
        for (i, cut) in [Int.max, 300, 512].enumerated() {
          let sector = UInt64(8 * ring + i)
          let data = pattern(512, seed: UInt8(i + 10 * ring))
          func run(_ bytes: [UInt8], room: Int, isIndirect: Bool) throws -> [UInt8] {
            let id = try #require(guest.post(bytes, room: room, ring: ring, isIndirect: isIndirect, cut: cut))
            guest.kick(ring: ring)
            let back = try guest.collect(1, ring: ring)
            #expect(back.map(\.id) == [id])
            return try #require(back.first).written
          }
          for isIndirect in [true, false] {
            #expect(
              try run(BlockRequest(.write, sector: sector).encoded + data, room: 1, isIndirect: isIndirect) == [0])
            #expect(try run(BlockRequest(.flush).encoded, room: 1, isIndirect: isIndirect) == [0])
            #expect(
              try run(BlockRequest(.read, sector: sector).encoded, room: 513, isIndirect: isIndirect) == data + [0])
            #expect(try file.read(at: Int(sector) * 512, count: 512) == data)
          }
          let zeroes = BlockRequest(.writeZeroes).encoded + BlockSegment(sector: sector, count: 1).encoded
          #expect(try run(zeroes, room: 1, isIndirect: true) == [0])
          #expect(try file.read(at: Int(sector) * 512, count: 512) == Array(repeating: 0, count: 512))
          let (name, status) = Self.split(try run(BlockRequest(.getID).encoded, room: 21, isIndirect: true))
          #expect(name == Array("disk 7".utf8) + Array(repeating: 0, count: 14) && status == .ok)
          #expect(
            try run(BlockRequest(.read, sector: 64).encoded, room: 513, isIndirect: true) == [],
            "its data is not written")
        }
      }
      #expect(guest.device.capabilities.statistics?.vrings.map(\.packets) == [27, 27])
    }
  }

  @Test("A slow request holds nobody up, but where the driver wants them in order", arguments: formats)
  func order(features: Features) throws {
    let file = try TestFile(sectors: 64)
    let (device, operations) = try Self.held(file)
    operations[0].hold { $0.offset == 0 }
    let guest = try ChainGuest(device, features: features)
    defer { guest.end() }
    let ids = try (0..<4).map {
      try #require(guest.post(BlockRequest(.read, sector: UInt64($0)).encoded, room: 513, isIndirect: true))
    }
    guest.kick()
    if features.contains(.inOrder) {
      for _ in 0..<4000 where operations[0].operations.count < 4 { usleep(500) }
      #expect(operations[0].operations.count == 4 && guest.device.capabilities.statistics?.vrings[0].packets == 0)
      operations[0].release()
      #expect(try guest.collect(4).map(\.id) == ids)
    } else {
      #expect(Set(try guest.collect(3).map(\.id)) == Set(ids.dropFirst()))
      operations[0].release()
      #expect(try guest.collect(1).map(\.id) == [ids[0]])
    }
  }

  @Test("A ring stops when its requests have ended, each with its status; the other goes on", arguments: formats)
  func drain(features: Features) throws {
    let file = try TestFile(sectors: 64)
    let (device, operations) = try Self.held(file, queues: 2)
    for one in operations { one.hold { $0.kind == .write } }
    let guest = try ChainGuest(device, features: features)
    defer { guest.end() }
    for ring in 0..<2 {
      for i in 0..<3 {
        let data = pattern(512, seed: UInt8(ring * 3 + i))
        guest.post(
          BlockRequest(.write, sector: UInt64(ring * 3 + i)).encoded + data, room: 1, ring: ring, isIndirect: true)
      }
      guest.kick(ring: ring)
      for _ in 0..<4000 where operations[ring].heldCount < 3 { usleep(500) }
      try #require(operations[ring].heldCount == 3)
    }
    let isStopped = Atomic<Bool>(false)
    let wasStopped = Atomic<Bool>(false)
    let helper = try PinnedThread(name: "release") {
      usleep(50_000)
      wasStopped.store(isStopped.load(ordering: .sequentiallyConsistent), ordering: .sequentiallyConsistent)
      operations[0].release()
    }
    let state = try #require(try guest.device.capabilities.vringControl?.stopVring(0))
    isStopped.store(true, ordering: .sequentiallyConsistent)
    helper.join()
    let hasWaited = !wasStopped.load(ordering: .sequentiallyConsistent)
    #expect(hasWaited, "it has to wait for the requests")
    #expect(state.nextAvail == state.nextUsed)
    #expect(try guest.collect(3).map(\.written) == [[0], [0], [0]])
    for i in 0..<3 { #expect(try file.read(at: i * 512, count: 512) == pattern(512, seed: UInt8(i))) }
    operations[1].release()
    #expect(try guest.collect(3, ring: 1).map(\.written) == [[0], [0], [0]])
  }

  @Test("Closing it and taking memory away wait for real operations too", arguments: formats)
  func busy(features: Features) throws {
    let file = try TestFile(sectors: 64, in: .disk)
    for io in ["uring", "threads"] {
      for round in 0..<10 {
        let device = try SoftwareBlockDevice(Self.request(["blk-file": file.path, "io": io]))
        let guest = try ChainGuest(device, features: features)
        defer { guest.end() }
        for i in 0..<8 {
          let kind: BlockRequest.Kind = i % 2 == 0 ? .write : .flush
          let data = kind == .write ? pattern(512, seed: UInt8(i + round)) : []
          guest.post(BlockRequest(kind, sector: UInt64(i)).encoded + data, room: 1, isIndirect: true)
        }
        guest.kick()
        if round % 2 == 0 { try guest.replaceMemory() } else { _ = try guest.device.close() }
        // What was fetched has ended by then, and nothing is fetched after a close.
        guard round % 2 == 0 else { continue }
        #expect(try guest.collect(8).map(\.written) == Array(repeating: [0], count: 8))
        for i in stride(from: 0, to: 8, by: 2) {
          #expect(try file.read(at: i * 512, count: 512) == pattern(512, seed: UInt8(i + round)))
        }
      }
    }
  }

  // MARK: Trouble

  @Test(
    "The operator is told why requests fail, naming the ring, the request and the file; the guest gets an I/O error")
  func reports() throws {
    let file = try TestFile(sectors: 64)
    let device = try SoftwareBlockDevice(Self.request(["blk-file": file.path], queues: 2))
    let guest = try ChainGuest(device, features: Self.formats[0])
    defer { guest.end() }
    try file.resize(512)
    guest.post(BlockRequest(.read, sector: 9).encoded, room: 513, ring: 1)
    guest.post(BlockRequest(.write, sector: 64).encoded + pattern(512), room: 1, ring: 1)
    guest.kick(ring: 1)
    let back = try guest.collect(2, ring: 1)
    #expect(back.contains { $0.written == [BlockStatus.ioError.rawValue] })
    for _ in 0..<4000 where guest.reports.all.count < 2 { usleep(500) }
    let reasons = guest.reports.all.map { report -> String in
      guard case .requestsFail(index: 1, let reason) = report else { return "\(report)" }
      return reason
    }
    #expect(
      Set(reasons) == [
        "IN of 512 bytes at sector 9: \(file.path): the file ends 512 bytes early; has it been truncated?",
        "OUT of 512 bytes at sector 64: beyond the end of the device, which has 64 sectors",
      ])
  }

  @Test("A driver that cannot flush gets writes that are on stable storage when they are done")
  func writeThrough() throws {
    for canFlush in [true, false] {
      let file = try TestFile(sectors: 64)
      let (device, operations) = try Self.held(file)
      let guest = try ChainGuest(device, features: canFlush ? [.version1, .blockFlush] : .version1)
      defer { guest.end() }
      guest.post(BlockRequest(.write).encoded + pattern(512), room: 1)
      guest.kick()
      #expect(try guest.collect(1).map(\.written) == [[0]])
      #expect(operations[0].operations.map(\.kind) == [canFlush ? .write : .durableWrite])
    }
  }
}
