import Datapath
import Foundation
import FrontEndTestSupport
import Logging
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// Sockets whose guest is behind an IOMMU, with a front-end that answers misses as it likes (vhost-user, IOMMU support).
struct IOMMUTests {
  /// A socket of software, and another one beside it.
  private final class World {
    let software: SoftwareEngine
    let threads: SessionThreads
    let socket: VhostUserSocket
    let other: VhostUserSocket
    let folder = TemporaryFolder()

    init(
      type: DeviceType = .net, queues: Int = 1, enabling: ProtocolFeatures = [], _ parameters: Parameters = [:]
    ) throws {
      software = try SoftwareEngine()
      threads = try SessionThreads()
      let registry = Registry(software: software)
      var logger = Logger(label: "test")
      logger.logLevel = .critical
      let paths = ["vm0.sock", "vm1.sock"].map(folder.path)
      socket = VhostUserSocket(
        SocketConfiguration(endpoint: .listen(path: paths[0]), type: type, parameters: parameters),
        registry: registry, threads: threads, logger: logger)
      other = VhostUserSocket(
        SocketConfiguration(endpoint: .listen(path: paths[1])), registry: registry, threads: threads, logger: logger)
      try socket.setQueueCount(queues)
      try socket.enableProtocolFeatures(enabling)
      try socket.start()
      try other.start()
    }

    deinit {
      socket.stop()
      other.stop()
      threads.stop()
      software.stop()
    }

    var path: String { socket.status.path }
  }

  private static func payload(_ seed: Int) -> [UInt8] { (0..<1500).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ seed) } }

  private static let formats: [RingLayout.Format] = [.split, .packed]

  @Test(
    "Rings whose parts are not translated wait, the front-end is asked for them, and any order of answers will do",
    arguments: formats)
  func ringParts(format: RingLayout.Format) throws {
    let world = try World()
    let vm = try IOMMUFrontEnd(path: world.path, format: format)
    try vm.start(vm.guest.rings)
    #expect(!world.socket.status.isReady)
    let reason = try #require(world.socket.status.notReadyReason)
    #expect(reason.contains("vring 0 waits for the translation of its descriptor") && reason.contains("0x40000000"))
    var asked: [AddressMap.Miss] = []
    while asked.count < 6, let miss = try vm.nextMiss() { asked.append(miss) }
    let parts = vm.guest.rings.flatMap { ring -> [UInt64] in
      let places = vm.parts(of: ring)
      return [places.descriptor, places.available, places.used]
    }
    #expect(Set(asked.map(\.address)) == Set(parts))
    #expect(asked.last?.access == .readWrite)
    for miss in asked.reversed() {
      #expect(!world.socket.status.isReady)
      try vm.update(miss.address, access: miss.access)
    }
    try vm.settle()
    #expect(world.socket.status.isReady)
    vm.answerWhileWaiting()
    for i in 0..<20 { #expect(try vm.guest.exchange(Self.payload(i)) == Self.payload(i)) }
  }

  @Test(
    "A miss that is never answered holds up its ring alone, and is one miss however much the guest adds",
    arguments: formats)
  func neverAnswered(format: RingLayout.Format) throws {
    let world = try World(queues: 2)
    let vm = try IOMMUFrontEnd(path: world.path, queues: 2, format: format)
    try vm.updateParts(of: vm.guest.rings)
    for ring in vm.guest.rings[2...] { try vm.update(ring.firstBuffer, size: 0x8000) }
    try vm.start(vm.guest.rings)
    #expect(world.socket.status.isReady)
    for i in 0..<8 {
      try vm.guest.postEmpty(vm.guest.rings[0])
      try vm.guest.postPacket(vm.guest.rings[1], Self.payload(i))
    }
    let first = try #require(try vm.nextMiss())
    for i in 0..<50 { #expect(try vm.guest.exchange(Self.payload(i), pair: 1) == Self.payload(i)) }
    try behaveWell(at: world.other.status.path, packets: 20)
    while try vm.nextMiss(milliseconds: 0) != nil {}
    #expect(Set(vm.misses) == [first] && first.access == .read)
    // At last everything comes, in order. The first one may have been asked for again by then.
    vm.answerWhileWaiting()
    try vm.update(first.address & ~(IOMMUFrontEnd.page - 1), access: first.access)
    for i in 0..<8 {
      let packet = try #require(try vm.guest.take(from: vm.guest.rings[0]))
      #expect(Array(vm.guest.read(packet.address, count: Int(packet.length)).dropFirst(12)) == Self.payload(i))
      #expect(try vm.guest.take(from: vm.guest.rings[1]) != nil)
    }
  }

  @Test("What was asked for in vain is asked for again")
  func askedAgain() throws {
    let world = try World()
    let vm = try IOMMUFrontEnd(path: world.path)
    try vm.updateParts(of: vm.guest.rings)
    try vm.start(vm.guest.rings)
    try vm.guest.postEmpty(vm.guest.rings[0])
    try vm.guest.postPacket(vm.guest.rings[1], [1, 2, 3])
    let first = try #require(try vm.nextMiss())
    #expect(try vm.nextMiss() == first)
  }

  @Test(
    "Translations that are taken away under traffic lose nothing, and once that is answered nothing is written there",
    arguments: formats, [0, 3])
  func invalidation(format: RingLayout.Format, patience: Int) throws {
    let world = try World()
    let vm = try IOMMUFrontEnd(path: world.path, format: format)
    vm.patience = patience
    vm.answerWhileWaiting()
    try vm.updateParts(of: vm.guest.rings)
    try vm.start(vm.guest.rings)
    let (receive, transmit) = (vm.guest.rings[0], vm.guest.rings[1])
    var random = SeededGenerator(seed: UInt64(patience + 1))
    for round in 0..<60 {
      for i in 0..<4 {
        try vm.guest.postEmpty(receive)
        try vm.guest.postPacket(transmit, Self.payload(round &* 4 &+ i))
      }
      let ring = Bool.random(using: &random) ? receive : transmit
      let page = ring.firstBuffer + UInt64.random(in: 0..<8, using: &random) * IOMMUFrontEnd.page
      try vm.invalidate(page)
      // Nobody has translated it since.
      let before = vm.guest.read(page, count: Int(IOMMUFrontEnd.page))
      try vm.settle()
      #expect(vm.guest.read(page, count: Int(IOMMUFrontEnd.page)) == before)
      for i in 0..<4 {
        let packet = try #require(try vm.guest.take(from: receive))
        let bytes = vm.guest.read(packet.address, count: Int(packet.length))
        #expect(Array(bytes.dropFirst(12)) == Self.payload(round &* 4 &+ i))
        #expect(try vm.guest.take(from: transmit) != nil)
      }
    }
    #expect(world.socket.statistics.allSatisfy { $0.packets == 240 && $0.dropped == 0 && $0.iotlbMisses > 0 })
    #expect(world.socket.status.isReady)
  }

  @Test("What was taken away is not written any more, though the ring had it before", arguments: formats)
  func notWritten(format: RingLayout.Format) throws {
    let world = try World()
    let vm = try IOMMUFrontEnd(path: world.path, format: format)
    try vm.update(Guest.guestBase, size: vm.guest.size)
    try vm.start(vm.guest.rings)
    let (receive, transmit) = (vm.guest.rings[0], vm.guest.rings[1])
    let pattern = [UInt8](repeating: 0xa5, count: Int(IOMMUFrontEnd.page))
    for round in 0..<20 {
      let posted = try (0..<3).map { _ in try vm.guest.postEmpty(receive) }
      let page = posted[0] & ~(IOMMUFrontEnd.page - 1)
      try vm.invalidate(page)
      vm.guest.write(pattern, at: page)
      for i in 0..<3 { try vm.guest.postPacket(transmit, Self.payload(round + i)) }
      #expect(try vm.nextMiss() == .init(address: posted[0], access: .write))
      #expect(vm.guest.read(page, count: pattern.count) == pattern)
      try vm.update(page)
      for i in 0..<3 {
        let packet = try #require(try vm.guest.take(from: receive))
        let bytes = vm.guest.read(packet.address, count: Int(packet.length))
        #expect(Array(bytes.dropFirst(12)) == Self.payload(round + i))
        #expect(try vm.guest.take(from: transmit) != nil)
      }
    }
  }

  @Test(
    "A ring that loses a part waits where it stands, stops there, and goes on when it has all of them again",
    arguments: formats)
  func lostPart(format: RingLayout.Format) throws {
    let world = try World()
    let vm = try IOMMUFrontEnd(path: world.path, format: format)
    vm.answerWhileWaiting()
    try vm.updateParts(of: vm.guest.rings)
    try vm.start(vm.guest.rings)
    for i in 0..<5 { #expect(try vm.guest.exchange(Self.payload(i)) == Self.payload(i)) }
    for ring in vm.guest.rings {
      for part in [ring.base, ring.base + ring.places.avail, ring.base + ring.places.used] {
        try vm.invalidate(part)
        for i in 0..<3 { #expect(try vm.guest.exchange(Self.payload(i)) == Self.payload(i)) }
      }
    }
    // Everything goes.
    try vm.invalidate(0, size: 0)
    #expect(try vm.nextMiss() != nil)
    let positions = try [1, 0].map { try vm.frontEnd.stop($0) }
    #expect(positions == vm.guest.rings.reversed().map { $0.position(after: 23) })
    try vm.updateParts(of: vm.guest.rings)
    try vm.start(vm.guest.rings, at: positions.reversed())
    for i in 0..<5 { #expect(try vm.guest.exchange(Self.payload(i)) == Self.payload(i)) }
    #expect(world.socket.status.isReady)
  }

  @Test("What no front-end may say of translations is refused, and changes nothing")
  func badMessages() throws {
    let world = try World()
    let vm = try IOMMUFrontEnd(path: world.path)
    try vm.updateParts(of: vm.guest.rings)
    try vm.start(vm.guest.rings)
    let (iova, user) = (Guest.guestBase, Guest.userBase)
    for bad in [
      IOTLBPayload(.update, address: iova, size: 4096, userAddress: user - 4096, access: .readWrite),
      IOTLBPayload(.update, address: iova, size: vm.guest.size + 4096, userAddress: user, access: .readWrite),
      IOTLBPayload(.update, address: iova, size: 0, userAddress: user, access: .readWrite),
      IOTLBPayload(.update, address: .max - 4095, size: 8192, userAddress: user, access: .readWrite),
      IOTLBPayload(.update, address: .max - 4095, size: 4096, userAddress: user, access: .readWrite),
      IOTLBPayload(.update, address: iova, size: .max, userAddress: user, access: .readWrite),
      IOTLBPayload(.update, address: iova + 1, size: 4095, userAddress: user, access: .readWrite),
      IOTLBPayload(.miss, address: iova, size: 0, access: .read),
      IOTLBPayload(.accessFailure, address: iova, size: 4096, access: .read),
    ] {
      #expect(try !vm.tell(bad), "\(bad)")
    }
    vm.answerWhileWaiting()
    #expect(try vm.guest.exchange([1, 2, 3]) == [1, 2, 3])
  }

  @Test("Without a back-channel, and after its end, what the front-end brings by itself will do")
  func withoutChannel() throws {
    let world = try World()
    let silent = try IOMMUFrontEnd(path: world.path, hasChannel: false)
    try silent.start(silent.guest.rings)
    #expect(!world.socket.status.isReady)
    try silent.update(Guest.guestBase, size: silent.guest.size)
    for i in 0..<5 { #expect(try silent.guest.exchange(Self.payload(i)) == Self.payload(i)) }
    silent.frontEnd.hangUp()

    let vm = try IOMMUFrontEnd(path: world.path)
    try vm.start(vm.guest.rings)
    vm.closeChannel()
    try vm.updateParts(of: vm.guest.rings)
    try vm.guest.postEmpty(vm.guest.rings[0])
    try vm.guest.postPacket(vm.guest.rings[1], [1, 2, 3])
    try vm.settle()
    try vm.update(Guest.guestBase, size: vm.guest.size)
    #expect(try vm.guest.take(from: vm.guest.rings[0])?.length == 15)
  }

  @Test("A connection leaves no translation to the next one, nor do rings that are all stopped")
  func forgotten() throws {
    let world = try World()
    for _ in 0..<2 {
      let vm = try IOMMUFrontEnd(path: world.path)
      for _ in 0..<2 {
        try vm.start(vm.guest.rings)
        #expect(!world.socket.status.isReady)
        try vm.update(Guest.guestBase, size: vm.guest.size)
        #expect(try vm.guest.exchange([1, 2, 3]) == [1, 2, 3])
        for ring in vm.guest.rings {
          _ = try vm.frontEnd.stop(ring.index)
          vm.guest.renew(ring)
        }
      }
      vm.frontEnd.hangUp()
    }
  }

  @Test("Requests of a block device wait for translations and for nothing else; what is taken away is waited for")
  func block() throws {
    let folder = TemporaryFolder()
    let image = folder.path("disk.img")
    try Data(count: 128 * 512).write(to: URL(fileURLWithPath: image))
    let world = try World(type: .block, ["blk-file": image])
    let vm = try IOMMUFrontEnd(
      path: world.path, features: [.version1, .accessPlatform, .blockFlush],
      protocolFeatures: [.multiqueue, .replyAck, .memorySlots, .status, .configuration])
    vm.answerWhileWaiting()
    let ring = vm.guest.rings[0]
    try vm.start([ring])
    let data = { (round: Int) in (0..<512).map { UInt8(truncatingIfNeeded: $0 &* 3 &+ round) } }
    for round in 0..<40 {
      let sector = UInt64(round % 128)
      #expect(try vm.guest.request(BlockRequest(.write, sector: sector).encoded + data(round), room: 1) == [0])
      try vm.invalidate(ring.firstBuffer, size: 0x8000)
      #expect(try vm.guest.request(BlockRequest(.read, sector: sector).encoded, room: 513) == data(round) + [0])
      if round % 8 == 0 { try vm.invalidate(0, size: 0) }
    }
    #expect(world.socket.statistics[0].iotlbMisses > 40)
  }

  @Test("A ring that had to wait while the device ran calls by message, too, where it has no eventfd")
  func inband() throws {
    let world = try World(queues: 2, enabling: .inbandNotifications)
    let vm = try IOMMUFrontEnd(
      path: world.path, queues: 2,
      protocolFeatures: [.multiqueue, .replyAck, .memorySlots, .status, .inbandNotifications])
    try vm.updateParts(of: Array(vm.guest.rings[..<2]))
    try vm.start(Array(vm.guest.rings[..<2]))
    #expect(world.socket.status.isReady)
    let ring = vm.guest.rings[2]
    vm.frontEnd.send(.setVringNum, VringStatePayload(index: 2, number: UInt32(vm.guest.ringSize)).encoded)
    vm.frontEnd.send(.setVringAddress, vm.parts(of: ring).encoded)
    vm.frontEnd.send(.setVringEnable, VringStatePayload(index: 2, number: 1).encoded)
    vm.frontEnd.send(.vringKick, VringStatePayload(index: 2).encoded)
    try vm.settle()
    try vm.updateParts(of: [ring])
    // Whoever takes a ring over calls once.
    let channel = BackChannelPeer(try #require(vm.channel))
    while let next = try channel.next(within: 5000) {
      if case .vringCall(2) = next.message { return }
    }
    Issue.record("no call")
  }
}
