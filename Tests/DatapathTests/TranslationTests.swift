import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Software devices behind an IOMMU: a miss is told once and loses nothing, and what is taken away is waited for.
@Suite struct TranslationTests {
  private static let page: UInt64 = 4096
  private static let features: [Features] = [
    [.version1, .netMergeableBuffers, .accessPlatform],
    [.version1, .netMergeableBuffers, .accessPlatform, .packedRing],
  ]

  private final class Observer: DeviceObserver {
    private let reports = Mutex<[DeviceReport]>([])
    var all: [DeviceReport] { reports.withLock { $0 } }
    /// The next one, which is forgotten.
    func take() -> DeviceReport? { reports.withLock { $0.isEmpty ? nil : $0.removeFirst() } }
    func deviceReports(_ report: DeviceReport) { reports.withLock { $0.append(report) } }
  }

  /// All of a guest's memory at its own addresses, but for some pages.
  private func translated(_ memory: GuestMemory, without missing: [UInt64] = []) throws -> GuestMemory {
    var seen = memory.behindIOMMU(true)
    for region in memory.regions {
      seen = try seen.translating(
        region.guestAddress, size: region.size, to: region.guestAddress, in: .guest, for: .readWrite)
    }
    for page in missing { seen = seen.withdrawing(page, size: Self.page) }
    return seen
  }

  // MARK: Ports

  /// A pair whose rings are in memory of which two pages are not translated: those of the buffers.
  private func withPair(
    _ features: Features, _ port: sending any NetPort,
    _ body: (RingsUnderTest, NetPair, Observer, _ translate: (UInt64?) throws -> Void) throws -> Void
  ) throws {
    let observer = Observer()
    let guest = try RingsUnderTest(features: features, observer: observer)
    let buffers: [UInt64] = [0x1_4000, 0x1_c000]
    let worker = try Worker(name: "test", mode: .event, cpu: nil)
    defer { worker.stop() }
    let pair = NetPair(
      name: "pair", worker: worker, port: port, receive: OwnedVring(name: "vring 0"),
      transmit: OwnedVring(name: "vring 1"))
    try pair.receive.change { $0 = guest.receive }
    try pair.transmit.change { $0 = guest.transmit }
    var missing = buffers
    let translate: (UInt64?) throws -> Void = { page in
      missing.removeAll { $0 == page }
      let seen = try self.translated(guest.memory, without: missing)
      for vring in [pair.receive, pair.transmit] { try vring.change { try $0?.move(to: seen) } }
    }
    try translate(nil)
    try body(guest, pair, observer, translate)
  }

  @Test(
    "Loopback gives every packet back, in order, when the translations have come; each miss is told once",
    arguments: features)
  func loopback(features: Features) throws {
    let burst = PacketBurst()
    try withPair(features, LoopbackPort()) { guest, pair, observer, translate in
      guest.offer(5)
      guest.send([1, 2, 3])
      for _ in 0..<3 { #expect(pair.serve(burst, isPolled: false) == 0) }
      #expect(observer.all == [.translationMissing(index: 1, miss: .init(address: 0x1_c000, access: .read))])
      try translate(0x1_c000)
      for _ in 0..<3 { #expect(pair.serve(burst, isPolled: true) == 0) }
      #expect(
        observer.all.dropFirst() == [.translationMissing(index: 0, miss: .init(address: 0x1_4000, access: .write))])
      #expect(try guest.received() == [] && guest.returned() == 0)
      // Any change makes it look again, and tell again.
      try translate(nil)
      #expect(pair.serve(burst, isPolled: true) == 0 && observer.all.count == 3)
      try translate(0x1_4000)
      #expect(pair.serve(burst, isPolled: true) == 3)
      #expect(try guest.received() == [1, 2, 3] && guest.returned() == 3)
      #expect(guest.receive?.counters.snapshot.iotlbMisses == 2 && guest.transmit?.counters.snapshot.iotlbMisses == 1)
      #expect(guest.receive?.counters.snapshot.dropped == 0)
    }
  }

  /// A question for an address, but for its last byte.
  private static let arp: [UInt8] =
    Array(repeating: 0xff, count: 6) + [
      2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1,
    ]
    + Array(repeating: 0, count: 6) + [10, 0, 0]

  @Test(
    "Answers of echo wait for the translation of their buffers; without buffers they are dropped as ever",
    arguments: features)
  func echo(features: Features) throws {
    let burst = PacketBurst()
    try withPair(features, EchoPort()) { guest, pair, observer, translate in
      try translate(0x1_c000)
      guest.offer(3)
      guest.send((2...5).map { OffloadPacket(whole: Self.arp + [$0], behind: NetHeader()) })
      #expect(pair.serve(burst, isPolled: true) == 4)
      #expect(pair.serve(burst, isPolled: true) == 0)
      #expect(try guest.receivedPackets().isEmpty)
      #expect(observer.all == [.translationMissing(index: 0, miss: .init(address: 0x1_4000, access: .write))])
      try translate(0x1_4000)
      _ = pair.serve(burst, isPolled: true)
      // Where the asker's address was is now the one that was asked for.
      #expect(try guest.receivedPackets().map { $0.frame[31] } == [2, 3, 4])
      #expect(guest.receive?.counters.snapshot.dropped == 1)
    }
  }

  @Test("Answers that wait when a guest goes are not given to the next one", arguments: features)
  func echoOfAnother(features: Features) throws {
    let guest = try RingsUnderTest(features: features)
    let whole = try translated(guest.memory)
    let burst = PacketBurst()
    for isAnother in [false, true] {
      var (receive, transmit, port) = (guest.receive, guest.transmit, EchoPort())
      try receive?.move(to: whole.withdrawing(0x1_4000, size: Self.page))
      try transmit?.move(to: whole)
      guest.offer(1)
      guest.send([OffloadPacket(whole: Self.arp + [2], behind: NetHeader())])
      #expect(port.serve(&receive, &transmit, burst) == 1)
      #expect(try guest.receivedPackets().isEmpty)
      if isAnother { port.begin() }
      try receive?.move(to: whole)
      _ = port.serve(&receive, &transmit, burst)
      #expect(try guest.receivedPackets().count == (isAnother ? 0 : 1))
      (guest.receive, guest.transmit) = (receive, transmit)
    }
  }

  @Test("An application's packets stay with it while a buffer's translation is missing", arguments: features)
  func application(features: Features) throws {
    let served = try ServedGuest(features: features)
    let (queue, guest) = (served.toGuest, served.guest)
    let whole = try translated(served.memory)
    try served.configure()
    try served.device.memoryChanged(from: served.memory, to: whole.withdrawing(0x10_4000, size: 0x1000))
    guest.offer(4)
    let burst = PacketBurst()
    for number in 0..<3 {
      _ = burst.append(length: 64) { payload in
        for i in 0..<8 { payload[i] = i == 0 ? UInt8(number) : 0 }
      }
    }
    #expect(queue.enqueueBurst(from: burst) == 0 && burst.count == 3 && queue.isRunning)
    #expect(queue.enqueueBurst(from: burst) == 0)
    #expect(
      served.observer.reports.withLock { $0 } == [
        .translationMissing(index: 0, miss: .init(address: 0x10_4000, access: .write))
      ])
    #expect(queue.requestWakeup())
    try served.device.memoryChanged(from: whole, to: whole)
    #expect(queue.enqueueBurst(from: burst) == 3)
    guest.collect()
    #expect(guest.received == 3 && guest.fault == nil)
    _ = try served.close()
  }

  // MARK: Chains

  @Test(
    "A translation that comes does not wait for the chains that a device has; one that goes does",
    arguments: [[.version1, .accessPlatform], [.version1, .accessPlatform, .packedRing]] as [Features])
  func chains(features: Features) throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: features)
    defer { guest.end() }
    let whole = try translated(guest.memory)
    // Buffers begin at 0x1_8000; the next ones are on another page.
    let part = whole.withdrawing(0x1_9000, size: 0x1000)
    try guest.device.memoryChanged(from: guest.memory, to: part)
    guest.post([1], room: 1)
    guest.post([UInt8](repeating: 2, count: 0x1000), room: 1)
    guest.kick()
    try #require(keeper.wait(for: 1))
    for _ in 0..<20_000 where guest.reports.all.isEmpty { usleep(500) }
    #expect(guest.reports.all == [.translationMissing(index: 0, miss: .init(address: 0x1_9000, access: .read))])
    // The first one is with the device all the while.
    try guest.device.memoryChanged(from: part, to: whole)
    try #require(keeper.wait(for: 2))

    let isChanged = Atomic<Bool>(false)
    let wasChanged = Atomic<Bool>(true)
    let helper = try PinnedThread(name: "finish", cpus: []) {
      usleep(50_000)
      wasChanged.store(isChanged.load(ordering: .acquiring), ordering: .relaxed)
      keeper.finishAll()
    }
    try guest.device.memoryChanged(from: whole, to: part)
    isChanged.store(true, ordering: .releasing)
    helper.join()
    let isTooEarly = wasChanged.load(ordering: .relaxed)
    #expect(!isTooEarly)
    #expect(try guest.collect(2).count == 2)
  }
}
