import Datapath
import FrontEndTestSupport
import Glibc
import Logging
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// A guest that arrives before its memory (vhost-user, Postcopy), over a real userfaultfd(2).
struct PostcopyTests {
  /// Two sockets with a loopback each, served by the same threads.
  private final class World {
    let software: SoftwareEngine
    let threads: SessionThreads
    let sockets: [VhostUserSocket]
    let paths: [String]
    private let folder = TemporaryFolder()

    init() throws {
      let software = try SoftwareEngine()
      let threads = try SessionThreads()
      var logger = Logger(label: "test")
      logger.logLevel = .critical
      let registry = Registry(software: software)
      paths = [folder.path("vm0.sock"), folder.path("vm1.sock")]
      sockets = paths.map {
        VhostUserSocket(
          SocketConfiguration(endpoint: .listen(path: $0)), registry: registry, threads: threads, logger: logger)
      }
      (self.software, self.threads) = (software, threads)
      for socket in sockets { try socket.start() }
    }

    deinit {
      for socket in sockets { socket.stop() }
      threads.stop()
      software.stop()
    }
  }

  /// A front-end at the destination, up to the userfaultfd.
  private struct Destination {
    let frontEnd: RawFrontEnd
    let faults: OwnedFD

    init(path: String, guest: Guest, inSlots: Bool) throws {
      frontEnd = try RawFrontEnd(path: path)
      var features: ProtocolFeatures = [.multiqueue, .replyAck, .status, .pageFault]
      if inSlots { features.insert(.memorySlots) }
      try frontEnd.negotiate(features: guest.features, protocolFeatures: features)
      frontEnd.send(.postcopyAdvise)
      let socket = try #require(frontEnd.socket)
      var entry = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
      #expect(unsafe poll(&entry, 1, 10_000) == 1)
      let answer = try StreamSocket.receive(socket, atMost: MessageHeader.byteCount, descriptors: 8)
      #expect(answer.bytes == u32(28, 5, 0))
      faults = try #require(answer.descriptors.first)
      #expect(try frontEnd.tell(.postcopyListen))
    }

    /// Shares memory, as QEMU does: takes note of where it is, and says so.
    func share(_ memory: LateMemory, of guest: Guest, inSlots: Bool) throws {
      let descriptor = memory.file.rawValue
      if inSlots {
        frontEnd.send(.addMemoryRegion, SingleRegionPayload(region: guest.region).encoded, descriptors: [descriptor])
        let answer = try #require(try frontEnd.answer())
        #expect(answer.request == 37 && answer.payload.count == 40)
        let region = try SingleRegionPayload(decoding: answer.payload).region
        #expect(region.guestAddress == guest.region.guestAddress && region.size == guest.size)
        memory.isAt(region.userAddress, size: region.size)
        frontEnd.send(.addMemoryRegion, u64(0))
      } else {
        let table = MemoryTablePayload(regions: [guest.region])
        frontEnd.send(.setMemoryTable, table.encoded, descriptors: [descriptor])
        let answer = try #require(try frontEnd.answer())
        let region = try #require(try MemoryTablePayload(decoding: answer.payload).regions.first)
        memory.isAt(region.userAddress, size: region.size)
        frontEnd.send(.setMemoryTable, u64(0))
      }
    }

    func start(_ guest: Guest) throws {
      for ring in guest.rings { guest.start(ring, with: frontEnd) }
      frontEnd.send(.setStatus, bytes(0x0f))
    }
  }

  /// Packets that the source's driver has made available and nobody has taken.
  private static let packets = (0..<10).map { i in [UInt8](repeating: UInt8(i + 1), count: 100 + i) }

  private func waitingGuest(_ format: RingLayout.Format) throws -> Guest {
    let guest = try Guest(format: format)
    for packet in PostcopyTests.packets {
      try guest.postEmpty(guest.rings[0])
      try guest.postPacket(guest.rings[1], packet)
    }
    return guest
  }

  private func checkArrival(_ guest: Guest, _ memory: LateMemory) throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while EventFD.drain(guest.rings[1].call) == 0 && ContinuousClock.now < deadline { usleep(1000) }
    usleep(50_000)
    memory.bringBack()
    for packet in PostcopyTests.packets {
      let received = try #require(try guest.take(from: guest.rings[0]))
      #expect(Array(guest.read(received.address, count: Int(received.length)).dropFirst(12)) == packet)
      _ = try #require(try guest.take(from: guest.rings[1]))
    }
  }

  @Test(
    "Rings are served although no page is there: each is brought when it is needed, and goes on after the end",
    arguments: [RingLayout.Format.split, .packed], [true, false])
  func arrival(format: RingLayout.Format, inSlots: Bool) throws {
    let world = try World()
    let guest = try waitingGuest(format)
    let destination = try Destination(path: world.paths[0], guest: guest, inSlots: inSlots)
    let memory = try LateMemory(of: guest, by: destination.faults)
    defer { memory.stop() }
    try destination.share(memory, of: guest, inSlots: inSlots)
    try destination.start(guest)
    _ = try destination.frontEnd.ask(.getStatus)
    try checkArrival(guest, memory)
    #expect(memory.brought > 5)
    // Afterwards pages that nobody brought are zeroes, and the rings go on.
    #expect(try destination.frontEnd.ask(.postcopyEnd) == 0)
    #expect(world.sockets[0].status.isReady)
    #expect(try destination.frontEnd.ask(.getStatus) == 0x0f)
    let counters = world.sockets[0].statistics
    #expect(counters[1].packets == UInt64(PostcopyTests.packets.count))
    destination.frontEnd.hangUp()
  }

  @Test("While pages do not come, other sockets of the same threads are served; nothing is touched before its time")
  func others() throws {
    let world = try World()
    let guest = try waitingGuest(.split)
    let destination = try Destination(path: world.paths[0], guest: guest, inSlots: true)
    let memory = try LateMemory(of: guest, by: destination.faults, serving: false)
    defer { memory.stop() }
    try destination.share(memory, of: guest, inSlots: true)
    #expect(memory.waiting == 0)
    try destination.start(guest)
    let deadline = ContinuousClock.now + .seconds(10)
    while memory.waiting == 0 && ContinuousClock.now < deadline { usleep(1000) }
    #expect(memory.waiting > 0)
    try behaveWell(at: world.paths[1], packets: 100)
    memory.serve()
    try checkArrival(guest, memory)
    destination.frontEnd.hangUp()
  }

  @Test("A front-end that goes without having brought a page keeps nobody: the socket serves the next one")
  func abandoned() throws {
    let world = try World()
    for _ in 0..<3 {
      let guest = try waitingGuest(.split)
      let destination = try Destination(path: world.paths[0], guest: guest, inSlots: true)
      let memory = try LateMemory(of: guest, by: destination.faults, serving: false)
      try destination.share(memory, of: guest, inSlots: true)
      try destination.start(guest)
      let deadline = ContinuousClock.now + .seconds(10)
      while memory.waiting == 0 && ContinuousClock.now < deadline { usleep(1000) }
      // The device has to wait for the worker, which waits for the page.
      destination.frontEnd.send(.setVringEnable, VringStatePayload(index: 0, number: 0).encoded)
      usleep(20_000)
      destination.frontEnd.hangUp()
      try behaveWell(at: world.paths[0], packets: 10)
      #expect(world.sockets[0].status.deviceFailures == 0)
      memory.stop()
    }
  }

  @Test("Rings are not served before the front-end has taken note of where memory is")
  func notBeforeTheEnd() throws {
    let world = try World()
    let guest = try waitingGuest(.split)
    let destination = try Destination(path: world.paths[0], guest: guest, inSlots: true)
    let frontEnd = destination.frontEnd
    frontEnd.send(
      .addMemoryRegion, SingleRegionPayload(region: guest.region).encoded, descriptors: [guest.file.rawValue])
    _ = try frontEnd.answer()
    try destination.start(guest)
    _ = try frontEnd.ask(.getStatus)
    #expect(world.sockets[0].status.notReadyReason?.contains("postcopy") == true)
    frontEnd.send(.addMemoryRegion, u64(0))
    _ = try frontEnd.ask(.getStatus)
    // The device has a thread of its own.
    let deadline = ContinuousClock.now + .seconds(10)
    while !world.sockets[0].status.isReady && ContinuousClock.now < deadline { usleep(1000) }
    #expect(world.sockets[0].status.isReady)
    frontEnd.hangUp()
  }

  @Test("Out of order nothing happens: LISTEN and END without ADVISE, ADVISE twice, an end of regions without any")
  func outOfOrder() throws {
    let world = try World()
    let frontEnd = try RawFrontEnd(path: world.paths[0])
    try frontEnd.negotiate(protocolFeatures: [.multiqueue, .replyAck, .status, .pageFault, .memorySlots])
    #expect(try !frontEnd.tell(.postcopyListen))
    #expect(try frontEnd.ask(.postcopyEnd) == 1)
    #expect(try !frontEnd.tell(.addMemoryRegion, u64(0)))
    frontEnd.send(.postcopyAdvise)
    #expect(try frontEnd.answer()?.payload == [])
    frontEnd.send(.postcopyAdvise)
    #expect(try frontEnd.isClosed())
  }
}
