import Foundation
import SimulatorEngine
import SystemPackage
import Testing
import VDPA
import Virtio

struct BlockTests {
  typealias Request = TestDisk.Request

  static let features: Features = [.version1, .blockFlush, .blockDiscard, .blockWriteZeroes]
  static let formats: [Features] = [[], .packedRing]
  static let setups = formats.flatMap { format in
    ["on-chip,order=in", "platform,order=out,latency=100"].map { (format, $0) }
  }

  private func start(
    _ parameters: String = "", format: Features = [], features: Features = features
  ) throws -> (Simulation, TestGuest, TestDisk) {
    let simulation = try Simulation("type=block,queues=1," + parameters, type: .block)
    let guest = try TestGuest()
    let disk = try TestDisk(guest, features: format)
    try simulation.configure(guest.memory(), [disk.vring], features: features.union(format))
    return (simulation, guest, disk)
  }

  private func sectors(_ count: Int, seed: Int) -> [UInt8] { packet(seed, length: count * 512, seed: seed) }

  @Test(arguments: setups) func whatIsWrittenIsRead(format: Features, parameters: String) throws {
    let (simulation, _, disk) = try start("translation=" + parameters, format: format)
    for round in 0..<5 {
      let writes = (0..<60).map { i in
        Request(kind: .write, sector: UInt64(i * 8), data: sectors(1 + i % 8, seed: 100 * round + i))
      }
      for answer in try disk.run(writes) { #expect(answer == .init(status: .ok, data: [], written: 1)) }
      #expect(try disk.run(Request(kind: .flush))?.status == .ok)
      let answers = try disk.run(writes.map { Request(kind: .read, sector: $0.sector, room: $0.data.count) })
      #expect(answers.map(\.data) == writes.map(\.data))
      for (answer, write) in zip(answers, writes) {
        #expect(answer.status == .ok && answer.written == UInt32(write.data.count) + 1)
      }
    }
    #expect(eventually { simulation.device.statistics[0].packets == 5 * 121 })
    #expect(simulation.observer.reports.isEmpty)
    #expect(simulation.device.dmaMap.refusedAccesses == 0)
    let state = try #require(try simulation.close().first)
    #expect(state.nextAvail == state.nextUsed)
    try simulation.end()
  }

  @Test func theDiskSaysWhatItIs() throws {
    let (simulation, _, disk) = try start("capacity=1")
    #expect(simulation.context.attributes.type == .block)
    #expect(
      simulation.context.attributes.features.isSuperset(of: [
        .blockFlush, .blockSegMax, .blockSize, .blockTopology, .blockDiscard, .blockWriteZeroes, .packedRing, .inOrder,
      ]))
    #expect(
      simulation.context.attributes.protocolFeatures.isSuperset(of: [.configuration, .inflightSharedMemory]))
    let bytes = try wait { simulation.context.readConfiguration(completion: $0) }
    let space = try #require(BlockConfiguration(decoding: bytes))
    #expect(space.capacity == 2048)
    #expect(space.segMax == 126)
    let id = try #require(try disk.run(Request(kind: .getID, room: 20)))
    #expect(id == .init(status: .ok, data: Array("simulated-0".utf8) + Array(repeating: 0, count: 9), written: 21))
    try simulation.end()
  }

  /// What a device must not do, and what it is to answer.
  static let refusals: [(Request, BlockStatus)] = [
    (Request(kind: .read, sector: 2048, room: 512), .ioError),
    (Request(kind: .read, sector: 2047, room: 1024), .ioError),
    (Request(kind: .read, sector: .max, room: 512), .ioError),
    (Request(kind: .read, room: 511), .ioError),
    (Request(kind: .write, sector: 2048, data: Array(repeating: 1, count: 512)), .ioError),
    (Request(kind: .write, data: Array(repeating: 1, count: 513)), .ioError),
    (Request(kind: .getLifetime, room: 512), .unsupported),
    (Request(kind: .secureErase, data: BlockSegment(sector: 0, count: 1).encoded), .unsupported),
    (Request(kind: .discard, data: BlockSegment(sector: 0, count: 1, flags: .unmap).encoded), .unsupported),
    (Request(kind: .discard, data: BlockSegment(sector: 2048, count: 1).encoded), .ioError),
    (Request(kind: .discard, data: Array(repeating: 0, count: 15)), .ioError),
    (Request(kind: .writeZeroes, data: BlockSegment(sector: 2047, count: 2).encoded), .ioError),
    (Request(kind: .writeZeroes, data: Array(repeating: 0, count: 17 * 16)), .ioError),
  ]

  @Test func whatCannotBeDoneIsRefusedAndNothingIsTouched() throws {
    let (simulation, _, disk) = try start("capacity=1")
    let content = sectors(1, seed: 1)
    #expect(try disk.run(Request(kind: .write, sector: 0, data: content))?.status == .ok)
    for (request, status) in BlockTests.refusals {
      #expect(try disk.run(request)?.status == status, "\(request.kind) of sector \(request.sector)")
    }
    #expect(try disk.run(Request(kind: .read, sector: 0, room: 512))?.data == content)
    #expect(simulation.observer.reports.isEmpty)
    try simulation.end()
  }

  @Test(arguments: [BlockRequest.Kind.discard, .writeZeroes]) func sectorsAreZeroed(kind: BlockRequest.Kind) throws {
    let (simulation, _, disk) = try start()
    let content = sectors(12, seed: 1)
    #expect(try disk.run(Request(kind: .write, sector: 0, data: content))?.status == .ok)
    let flags: [BlockSegment.Flags] = kind == .discard ? [[]] : [[], .unmap]
    for (i, flags) in flags.enumerated() {
      let segments = [
        BlockSegment(sector: UInt64(4 * i), count: 1, flags: flags), BlockSegment(sector: 9, count: 0, flags: flags),
        BlockSegment(sector: UInt64(4 * i + 2), count: 2, flags: flags),
      ]
      #expect(try disk.run(Request(kind: kind, data: segments.flatMap(\.encoded)))?.status == .ok)
      let read = try disk.run(Request(kind: .read, sector: UInt64(4 * i), room: 4 * 512))?.data ?? []
      let zeroes = [UInt8](repeating: 0, count: 512)
      #expect(Array(read[..<512]) == zeroes)
      #expect(Array(read[512..<1024]) == Array(content[(4 * i + 1) * 512..<(4 * i + 2) * 512]))
      #expect(Array(read[1024...]) == zeroes + zeroes)
    }
    #expect(try disk.run(Request(kind: .read, sector: 8, room: 512))?.data == Array(content[8 * 512..<9 * 512]))
    try simulation.end()
  }

  @Test func whatWasNotNegotiatedIsNotDone() throws {
    let (simulation, _, disk) = try start(features: [.version1])
    let data = BlockSegment(sector: 0, count: 1).encoded
    for kind in [BlockRequest.Kind.discard, .writeZeroes] {
      #expect(try disk.run(Request(kind: kind, data: data))?.status == .unsupported)
    }
    #expect(try disk.run(Request(kind: .write, data: sectors(1, seed: 1)))?.status == .ok)
    try simulation.end()
  }

  // MARK: What is in flight

  static let inFlight = formats.flatMap { format in ["in", "out"].map { (format, $0) } }

  @Test(arguments: inFlight) func closingFinishesWhatIsInFlight(format: Features, order: String) throws {
    let (simulation, guest, disk) = try start("latency=1000000,order=\(order)", format: format)
    var number = 0
    for round in 0..<3 {
      for i in 0..<60 { disk.add(Request(kind: .write, sector: UInt64(i), data: sectors(1, seed: 60 * round + i))) }
      disk.publish()
      // Of four descriptors each: more than 64 are in flight.
      #expect(try eventually { try simulation.device.inFlight == 60 })
      disk.state = try #require(try simulation.close().first)
      #expect(disk.state.nextAvail == disk.state.nextUsed)
      let answers = try disk.collect()
      #expect(answers.keys.sorted() == Array(number..<number + 60))
      #expect(answers.values.allSatisfy { $0.status == .ok })
      let numbers = disk.completed.suffix(60)
      #expect((Array(numbers) == Array(number..<number + 60)) == (order == "in"))
      number += 60
      try simulation.configure(guest.memory(), [disk.vring], features: BlockTests.features.union(format))
    }
    simulation.device.latency = 0
    let answers = try disk.run((0..<60).map { Request(kind: .read, sector: UInt64($0), room: 512) })
    #expect(answers.map(\.data) == (0..<60).map { sectors(1, seed: 120 + $0) })
    try simulation.end()
  }

  @Test func aDeviceThatVanishesHasDoneWhatItCounted() throws {
    let (simulation, _, disk) = try start()
    try simulation.device.inject(.vanishing, afterPackets: 7)
    for i in 0..<20 { disk.add(Request(kind: .write, sector: UInt64(i), data: sectors(1, seed: i))) }
    disk.publish()
    #expect(eventually { simulation.observer.reports.count == 1 })
    #expect(try disk.collect().isEmpty)
    #expect(try simulation.close().isEmpty)
    try simulation.end()
  }

  @Test func aRecordOfWhatIsInFlightIsTakenOver() throws {
    let simulation = try Simulation("type=block,queues=1,latency=1000000", type: .block)
    let guest = try TestGuest()
    let disk = try TestDisk(guest)
    let layout = try InflightLayout(.split, queues: 1, queueSize: disk.size)
    let file = try MemoryFile.make("in flight", size: layout.bytes)
    let record = try InflightRecord(file: file.descriptor, offset: 0, size: UInt64(layout.bytes), layout: layout)
    var vring = disk.vring
    vring.description.inflight = try InflightQueue(record, index: 0, ring: RingLayout(.split, size: disk.size))
    try simulation.configure(guest.memory(), [vring], features: BlockTests.features)
    for i in 0..<20 { disk.add(Request(kind: .write, sector: UInt64(i), data: sectors(1, seed: i))) }
    disk.publish()
    #expect(try eventually { try simulation.device.inFlight == 20 })
    try simulation.device.inject(.vanishing)
    #expect(try simulation.close().isEmpty)
    #expect(try disk.collect().isEmpty)
    // It is back, and finds what it had.
    try simulation.device.clearFaults()
    simulation.device.latency = 0
    try simulation.configure(guest.memory(), [vring], features: BlockTests.features)
    var answers: [Int: TestDisk.Answer] = [:]
    #expect(
      try eventually {
        answers.merge(try disk.collect()) { $1 }
        return answers.count == 20
      })
    #expect(answers.values.allSatisfy { $0.status == .ok })
    #expect(simulation.observer.reports.contains(.requestsResubmitted(index: 0, count: 20)))
    try simulation.end()
  }

  @Test func aGuestOfLongListsCannotTakeAllMemory() throws {
    let simulation = try Simulation("type=block,queues=1,latency=1000000,ring-size=32768", type: .block)
    let guest = try TestGuest(regions: [8 << 20])
    let layout = try RingLayout(.split, size: 32768)
    let (descriptor, avail, used) = (
      guest.allocate(layout.descriptorBytes), guest.allocate(layout.availBytes), guest.allocate(layout.usedBytes)
    )
    let area = try SplitRingArea(size: 32768, descriptor: descriptor, avail: avail, used: used, memory: guest.view)
    // Every descriptor is the same table of 32768 descriptors, each of a byte to be read.
    let table = guest.allocate(32768 * 16)
    for i in 0..<32768 {
      guest.write(tableEntry(address: table, isLast: i == 32767, next: i + 1), at: table + UInt64(i * 16))
    }
    let indirect = RingDescriptor(address: table, length: 32768 * 16, flags: RingDescriptor.indirect, link: 0)
    for i in 0..<20 {
      area.setDescriptor(i, indirect)
      area.setHead(at: UInt16(i), UInt16(i))
    }
    area.publishAvailIndex(20)
    let vring = VringDescription(
      index: 0, size: 32768, descriptor: descriptor, avail: avail, used: used,
      state: VringState(index: 0, nextAvail: 0, nextUsed: 0), kick: try EventFD.make())
    try simulation.configure(
      guest.memory(), [DeviceSetup.Vring(vring, isEnabled: true)],
      features: BlockTests.features.union(.indirectDescriptors))
    #expect(try eventually { try simulation.device.inFlight == 4 })
    usleep(20_000)
    #expect(try simulation.device.inFlight == 4)
    simulation.device.latency = 0
    // They have no room for a status; each comes back all the same.
    #expect(eventually { area.usedIndex == 20 })
    #expect(eventually { simulation.device.statistics[0].dropped == 20 })
    try simulation.end()
  }

  private func tableEntry(address: UInt64, isLast: Bool, next: Int) -> [UInt8] {
    let low = (0..<8).map { UInt8(truncatingIfNeeded: address >> (8 * $0)) }
    let link = UInt16(isLast ? 0 : next)
    let flags = isLast ? 0 : UInt8(truncatingIfNeeded: RingDescriptor.next)
    return low + [1, 0, 0, 0, flags, 0, UInt8(truncatingIfNeeded: link), UInt8(link >> 8)]
  }

  // MARK: Files

  @Test func aFileIsTheDisk() throws {
    let path = NSTemporaryDirectory() + "simulated-\(UUID().uuidString).img"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data(sectors(16, seed: 3)).write(to: URL(fileURLWithPath: path))
    let (simulation, _, disk) = try start("file=\(path)")
    #expect(try disk.run(Request(kind: .read, sector: 2, room: 512))?.data == Array(sectors(16, seed: 3)[1024..<1536]))
    #expect(try disk.run(Request(kind: .write, sector: 3, data: sectors(1, seed: 4)))?.status == .ok)
    #expect(try disk.run(Request(kind: .flush))?.status == .ok)
    #expect(try disk.run(Request(kind: .read, sector: 16, room: 512))?.status == .ioError)
    try simulation.end()
    let content = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
    #expect(Array(content[1536..<2048]) == sectors(1, seed: 4))
    #expect(content.count == 8192)

    let (other, _, same) = try start("file=\(path),read-only=on", features: [.version1, .blockReadOnly])
    #expect(other.context.attributes.features.contains(.blockReadOnly))
    #expect(try same.run(Request(kind: .write, data: sectors(1, seed: 5)))?.status == .ioError)
    #expect(try same.run(Request(kind: .read, sector: 3, room: 512))?.data == sectors(1, seed: 4))
    try other.end()
  }

  @Test(arguments: ["/nonexistent/disk.img", "/dev/null", "/"]) func whatIsNoDiskIsRefused(path: String) throws {
    let error = #expect(throws: SimulatorError.self) {
      try SimulatorDriver().start(at: EngineAddress("virtual", parameters: ["type": "block", "file": path]))
    }
    #expect(error?.code == .badFile)
    #expect(error?.message.contains(path) == true)
  }

  @Test(arguments: formats) func whatIsReadIsNotedInTheDirtyLog(format: Features) throws {
    let simulation = try Simulation("type=block,queues=1", type: .block)
    let guest = try TestGuest()
    let disk = try TestDisk(guest, features: format)
    let test = try TestLog()
    try wait { simulation.context.setLog(test.log, completion: $0) }
    try simulation.configure(guest.memory(), [disk.vring], features: BlockTests.features.union(format))
    let page = disk.nextData / 4096
    _ = try disk.run(Request(kind: .read, room: 6000))
    let notRead = try test.pages
    // Not a number of sectors: only the status was written, in the first of the slot's pages.
    #expect(notRead.contains(page) && !notRead.contains(page + 1))
    _ = try disk.run(Request(kind: .read, room: 6144))
    #expect(try test.pages.isSuperset(of: [page, page + 1]))
    try simulation.end()
  }
}
