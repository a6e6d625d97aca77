import CLinux
import Glibc
import MemoryTestSupport
import Synchronization
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Software devices that note what they write, and where.
@Suite struct DirtyTrackingTests {
  private static let formats: [Features] = [
    [.version1, .netMergeableBuffers], [.version1, .netMergeableBuffers, .packedRing],
    [.version1, .netMergeableBuffers, .eventIndex], [.version1, .netMergeableBuffers, .packedRing, .eventIndex],
  ]

  private func tracking(_ device: any Device) throws -> any DirtyTracking {
    try #require(device.capabilities.dirtyTracking)
  }

  /// Copies pages of a guest, as its migration does.
  private final class Copier: Sendable {
    let test: TestLog
    private let memory: GuestMemory
    private let copies = Mutex<[UInt64: [UInt8]]>([:])
    private let count = Atomic<Int>(0)

    init(_ memory: GuestMemory) throws {
      self.memory = memory
      test = try TestLog(upTo: NumberedGuest.end)
    }

    /// How often there was something to copy.
    var rounds: Int { count.load(ordering: .relaxed) }

    func copy(_ pages: Set<UInt64>) {
      let wanted = pages.intersection(NumberedGuest.devicePages)
      if !wanted.isEmpty { count.add(1, ordering: .relaxed) }
      copies.withLock { copies in
        for page in wanted { copies[page] = contents(page) }
      }
    }

    func isCurrent(_ page: UInt64) -> Bool { copies.withLock { $0[page] } == contents(page) }

    private func contents(_ page: UInt64) -> [UInt8] {
      var view = memory.addressMap.view
      var bytes = [UInt8](repeating: 0, count: 4096)
      let isRead = unsafe bytes.withUnsafeMutableBytes { buffer in
        guard let to = buffer.baseAddress else { return false }
        return unsafe view.read(page * 4096, length: 4096, to: to)
      }
      return isRead ? bytes : []
    }
  }

  /// Moves a few packets from the guest back to it.
  private func move(_ count: Int, _ served: ServedGuest, _ burst: PacketBurst) {
    served.guest.send(count)
    served.guest.offer(count)
    served.fromGuest.dequeueBurst(into: burst)
    served.toGuest.enqueueBurst(from: burst)
    served.guest.collect()
  }

  @Test(
    "A front-end that copies noted pages while packets flow has all of the device's writes in the end",
    arguments: formats)
  func liveCopy(features: Features) throws {
    let served = try ServedGuest(features: features)
    let guest = served.guest
    guest.isLogged = true
    let copier = try Copier(guest.snapshot())
    let burst = PacketBurst()
    try served.configure()
    move(20, served, burst)
    try tracking(served.device).setLog(copier.test.open())
    // What was written before is the front-end's to copy.
    copier.copy(NumberedGuest.devicePages)
    let isOver = Atomic<Bool>(false)
    let thread = try PinnedThread(name: "front-end") {
      while !isOver.load(ordering: .acquiring) { copier.copy(copier.test.take()) }
    }
    for i in 0..<2000 {
      guest.send(min(i % 30, NumberedGuest.size - guest.sending))
      guest.offer(i % 27)
      served.fromGuest.dequeueBurst(into: burst)
      served.toGuest.enqueueBurst(from: burst)
      guest.collect()
      if i % 5 == 0 { _ = served.fromGuest.requestWakeup() }
      if i % 200 == 50 { try served.changeMemory() }
    }
    // Nothing is written once this has returned, and all has been noted.
    _ = try served.close()
    isOver.store(true, ordering: .releasing)
    thread.join()
    copier.copy(copier.test.take())
    #expect(guest.fault == nil)
    #expect(guest.received > 4000)
    #expect(copier.rounds > 10)
    for page in NumberedGuest.devicePages.sorted() { #expect(copier.isCurrent(page), "page \(page)") }
  }

  @Test(
    "Behind an IOMMU a used ring is noted where it is in guest memory, and wherever it is moved to", arguments: formats)
  func translated(features: Features) throws {
    let guest = try NumberedGuest(features: features)
    let test = try TestLog(upTo: NumberedGuest.end)
    let (address, places): (UInt64, [UInt64]) = (
      0x7000_0000, [NumberedGuest.end - 0x2_0000, NumberedGuest.end - 0x1_0000]
    )
    let seen = try places.map { place in
      try guest.snapshot().behindIOMMU(true).translating(
        address, size: 0x4000, to: place, in: .guest, for: .readWrite)
    }
    // The front-end calls it as the guest does.
    let description = VringDescription(
      index: 0, size: NumberedGuest.size, descriptor: address, avail: address + 0x1000, used: address + 0x2000,
      state: guest.start(0), logAddress: address + 0x2000)
    var vring = try RunningVring(
      DeviceSetup.Vring(description, isEnabled: true), features: features.union(.accessPlatform), memory: seen[0],
      log: test.open(), counters: VringCounters())
    vring.wantKicks(true)
    #expect(test.take() == TestLog.pages(of: places[0] + 0x2000, length: 1))
    try vring.move(to: seen[1])
    vring.wantKicks(false)
    vring.wantKicks(true)
    #expect(test.take() == TestLog.pages(of: places[1] + 0x2000, length: 1))
  }

  @Test("A log that the front-end takes away while it is written to is as bad as memory that it takes away")
  func lost() throws {
    try BusErrorGuard.install()
    let served = try ServedGuest()
    let test = try TestLog(upTo: NumberedGuest.end)
    try tracking(served.device).setLog(test.open())
    try served.configure()
    try #require(ftruncate(test.file.rawValue, 0) == 0)
    let burst = PacketBurst()
    for _ in 0..<2 { move(1, served, burst) }
    let reports = served.observer.reports.withLock { $0 }
    guard case .memoryLost(let reason)? = reports.first else {
      Issue.record("\(reports)")
      return
    }
    #expect(reason.contains("dirty log"))
    _ = try served.close()
  }

  @Test("A log that was taken away, or replaced, gets nothing more; a ring that starts later has the one that there is")
  func replaced() throws {
    let served = try ServedGuest()
    served.guest.isLogged = true
    let (first, second) = (try TestLog(upTo: NumberedGuest.end), try TestLog(upTo: NumberedGuest.end))
    let burst = PacketBurst()
    // Before there is a connection.
    try tracking(served.device).setLog(first.open())
    try served.configure()
    move(1, served, burst)
    #expect(first.take().isSuperset(of: TestLog.pages(of: 0x10_4000, length: 76)))
    try tracking(served.device).setLog(second.open())
    move(1, served, burst)
    #expect(first.take() == [] && second.take().isSuperset(of: TestLog.pages(of: 0x10_4000, length: 76)))
    for state in try served.close() { #expect(state.nextUsed == 2) }
    try served.configure(at: [0, 1].map { VringState(index: $0, nextAvail: 2, nextUsed: 2) })
    move(1, served, burst)
    #expect(first.take() == [] && !second.take().isEmpty)
    try tracking(served.device).setLog(nil)
    move(1, served, burst)
    #expect(first.take() == [] && second.take() == [] && served.guest.received == 4)
  }

  @Test("Whether a used ring is noted can change while it is served, and the packets are noted all the same")
  func usedRing() throws {
    let served = try ServedGuest()
    let test = try TestLog(upTo: NumberedGuest.end)
    let burst = PacketBurst()
    try served.configure()
    try tracking(served.device).setLog(test.open())
    for isLogged in [true, false, true] {
      served.guest.isLogged = isLogged
      for index in 0...1 { try served.setVring(served.guest.start(index)) }
      _ = test.take()
      move(1, served, burst)
      #expect(test.take() == (isLogged ? [0x102, 0x104, 0x112] : [0x104]))
    }
  }

  @Test("The front-end hears of it at most once for a burst on a ring, and of nothing else")
  func signals() throws {
    let served = try ServedGuest()
    served.guest.isLogged = true
    let test = try TestLog(upTo: NumberedGuest.end)
    let told = Atomic<Int>(0)
    try served.configure()
    let burst = PacketBurst()
    move(1, served, burst)
    let log = try test.open().signalling { told.add(1, ordering: .relaxed) }
    try tracking(served.device).setLog(log)
    move(20, served, burst)
    #expect(told.load(ordering: .relaxed) == 2)
    served.fromGuest.dequeueBurst(into: burst)
    served.toGuest.enqueueBurst(from: burst)
    #expect(told.load(ordering: .relaxed) == 2)
  }

  // MARK: Chains

  private static let chainFormats: [Features] = [[.version1], [.version1, .packedRing]]

  @Test("A request that is under way when the log changes is noted in the one that there is when it ends")
  func underWay() throws {
    for features in Self.chainFormats {
      let keeper = KeepingDevice()
      let guest = try ChainGuest(keeper, features: features)
      defer { guest.end() }
      let (first, second) = (try TestLog(upTo: 0x2_0000), try TestLog(upTo: 0x2_0000))
      try tracking(guest.device).setLog(first.open())
      guest.post([1, 2], room: 10_000)
      guest.kick()
      try #require(keeper.wait(for: 1))
      try tracking(guest.device).setLog(second.open())
      keeper.finishAll()
      #expect(try guest.collect(1).map(\.written) == [[0]])
      try tracking(guest.device).setLog(nil)
      // The byte that was written, whatever room there was; the descriptor of a packed ring.
      #expect(first.take() == [])
      #expect(second.take() == (features.contains(.packedRing) ? [0x10, 0x18] : [0x18]))
    }
  }

  /// Lets something else write, of which it says nothing.
  private struct Secretive: SoftwareDevice {
    let type = DeviceType.entropy
    func process(_ chain: consuming Chain, queue: Int) {
      var pieces: [iovec] = unsafe []
      _ = unsafe chain.writablePieces(at: 8192, count: 4096, into: &pieces)
      for i in unsafe pieces.indices { unsafe memset(pieces[i].iov_base, 0x5a, pieces[i].iov_len) }
    }
  }

  @Test("What a device had written by other means is noted, whatever it says to have written")
  func secretly() throws {
    let guest = try ChainGuest(Secretive(), features: [.version1])
    defer { guest.end() }
    let test = try TestLog(upTo: 0x2_0000)
    try tracking(guest.device).setLog(test.open())
    guest.post([], room: 5 * 4096)
    guest.kick()
    #expect(try guest.collect(1).map(\.written) == [[]])
    try tracking(guest.device).setLog(nil)
    // Up to the end of the room; not in front of it.
    #expect(test.take() == [0x1a, 0x1b, 0x1c])
  }

  @Test("Reads of a disk are noted, and of one that fails its status", arguments: chainFormats)
  func disk(features: Features) throws {
    let file = try TestFile(sectors: 64)
    let parameters: Parameters = ["blk-file": file.path]
    let device = try SoftwareBlockDevice(
      DeviceRequest(device: -1, owner: "vm0", type: .block, parameters: parameters))
    let guest = try ChainGuest(device, features: features)
    defer { guest.end() }
    let test = try TestLog(upTo: 0x2_0000)
    var description = guest.rings[0]
    description.logAddress = description.used
    try guest.device.setVring(description, enabled: true)
    try tracking(guest.device).setLog(test.open())
    func read(_ sector: UInt64, room: Int) throws -> Set<UInt64> {
      guest.post(BlockRequest(.read, sector: sector).encoded, room: room)
      guest.kick()
      _ = try guest.collect(1)
      return test.take()
    }
    let ring: Set<UInt64> = features.contains(.packedRing) ? [0x10, 0x12] : [0x12]
    // Each behind the one before.
    #expect(try read(0, room: 8193).union(ring) == ring.union([0x18, 0x19, 0x1a]))
    let failed = try read(63, room: 8193)
    let status = 0x1_8000 + 16 + UInt64(8193) + 16 + 8192
    #expect(failed.union(ring) == ring.union([status / 4096]))
    #expect(try read(1, room: 1).subtracting(ring) == [(status + 17) / 4096])
  }
}

/// What of a chain's room counts as written.
struct ChainWritesTests {
  @Test("All bytes that the device was given count, and no more than those up to the end of the room")
  func all() {
    var random = SystemRandomNumberGenerator()
    for room in [0, 1, 10, 100] {
      for _ in 0..<200 {
        var writes = ChainWrites(room: room)
        #expect(writes.head.isEmpty && writes.tail.isEmpty)
        var given: Set<Int> = []
        for _ in 0..<Int.random(in: 1...4, using: &random) {
          let first = Int.random(in: 0...room, using: &random)
          let bytes = first..<Int.random(in: first...room, using: &random)
          given.formUnion(bytes)
          writes.add(bytes)
        }
        let counted = Set(writes.head).union(writes.tail)
        #expect(given.isSubset(of: counted) && counted.allSatisfy { $0 >= 0 && $0 < room })
        #expect(writes.tail.isEmpty || given.contains(writes.tail.lowerBound))
        #expect(writes.head.isEmpty || given.isSuperset(of: writes.head))
      }
    }
  }
}
