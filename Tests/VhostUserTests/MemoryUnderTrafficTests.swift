import Testing
import VDPA
import Virtio

@testable import VhostUser

/// As much memory as a front-end may share, and memory that changes while rings run: numbered packets over real sockets of
/// both engines, of which none may be lost.
@Suite(.serialized)
struct MemoryUnderTrafficTests {
  /// A guest with one queue pair whose rings run.
  private final class World {
    let socket: LoopbackSocket
    let guest: FrontendGuest
    let traffic: NumberedTraffic
    let frontend: Frontend
    private var sent: UInt64 = 0

    init(
      _ server: LoopbackSocket.Server, _ format: RingLayout.Format, regions: Int, without: ProtocolFeatures = []
    ) throws {
      var features: Features = [.version1, .netMergeableBuffers]
      if format == .packed { features.insert(.packedRing) }
      socket = try LoopbackSocket(server)
      guest = try FrontendGuest(
        features: features, vringCount: 2, ringSize: MemoryUnderTrafficTests.ringSize,
        bufferBytes: NumberedTraffic.bufferBytes(ringSize: MemoryUnderTrafficTests.ringSize, pairs: 1),
        regionCount: regions)
      var configuration = NumberedTraffic.Configuration()
      configuration.window = MemoryUnderTrafficTests.window
      traffic = try NumberedTraffic(guest, configuration)
      frontend = Frontend(try FrontendConnection(path: socket.path))
      try frontend.negotiate(
        features, protocolFeatures: Frontend.usableProtocolFeatures.subtracting(without))
      try guest.start(over: frontend)
    }

    /// More packets, which are with the back-end while something else is done.
    func send(_ count: UInt64) throws {
      traffic.want(count)
      sent += count
      try traffic.step()
    }

    /// A message that the back-end acknowledges.
    func tell(_ request: FrontendRequest, _ payload: [UInt8], _ descriptors: [OwnedFD] = []) throws {
      try frontend.connection.tell(request, payload, descriptors: descriptors, isAcknowledged: true)
    }

    func setTable(_ regions: [SharedRegion]) throws {
      try tell(.setMemoryTable, MemoryTablePayload(regions: regions.map(\.payload)).encoded, regions.map(\.file))
    }

    /// All packets have come back, and the rings stand where they have to.
    func finish() throws {
      #expect(try traffic.run())
      let report = traffic.reports[0]
      #expect(report.isClean && report.received == sent, "\(report.counters)")
      try guest.stop()
    }
  }

  private static let ringSize = 1024
  /// More packets than there can be regions.
  private static let window = 512

  /// Regions behind those of the guest, in files of their own.
  private static func more(_ count: Int, behind guest: FrontendGuest) throws -> [SharedRegion] {
    let end = guest.memory.regions.map(\.region.guestEnd).max() ?? 0
    return try DriverMemory(regionSizes: Array(repeating: 8192, count: count)).regions.map { item in
      let address = item.region.guestAddress - DriverMemory.guestBase + end + 4096
      return SharedRegion(
        try MemoryRegion(
          guestAddress: address, size: item.region.size, userAddress: address + DriverMemory.userOffset, fileOffset: 0
        ),
        file: item.file)
    }
  }

  @Test(
    "One ring has buffers in 509 regions at once, packets go through all of them, and a 510th region is refused",
    arguments: LoopbackSocket.Server.allCases, RingLayout.Format.allCases)
  func allRegions(server: LoopbackSocket.Server, format: RingLayout.Format) throws {
    let world = try World(server, format, regions: GuestMemory.maxRegions)
    #expect(world.frontend.maximumRegions == 509 && world.frontend.regions.count == 509)
    try world.send(2000)
    #expect(world.guest.vrings[0].outstanding == Self.ringSize)
    #expect(world.traffic.reports[0].peakInFlight == Self.window)

    let one = try Self.more(1, behind: world.guest)[0]
    #expect(throws: VhostUserError.self) { try world.frontend.share([one]) }
    let payload = SingleRegionPayload(region: one.payload).encoded
    let error = try #require(throws: VhostUserError.self) { try world.tell(.addMemoryRegion, payload, [one.file]) }
    #expect(error.code == .refused)
    try world.send(1000)
    try world.finish()

    // The rings' parts have the first regions. Each of the others has two buffers of the receiving ring or three, and as
    // many of the other one, of which that window needs one.
    for item in world.guest.memory.regions.dropFirst(8) {
      let used = (0..<5).count { i in
        let place = UInt64(i) * 2048
        return world.guest.memory.read(item.region.guestAddress + place, count: 60).contains { $0 != 0 }
      }
      #expect(used >= 3, "\(item.region)")
    }
  }

  @Test(
    "Regions come and go while rings run, and no packet is lost", arguments: LoopbackSocket.Server.allCases,
    RingLayout.Format.allCases)
  func comeAndGo(server: LoopbackSocket.Server, format: RingLayout.Format) throws {
    let world = try World(server, format, regions: 3)
    let others = try Self.more(4, behind: world.guest)
    for round in 0..<40 {
      for count in [1, 4] {
        for item in others.prefix(count) {
          try world.send(50)
          try world.frontend.share([item])
        }
        for item in others.prefix(count) {
          try world.send(UInt64(round))
          try world.frontend.unshare(item.region)
        }
      }
    }
    try world.finish()
  }

  @Test(
    "The whole table is replaced while rings run: by the same, by more, by the same memory cut otherwise",
    arguments: LoopbackSocket.Server.allCases, RingLayout.Format.allCases)
  func tables(server: LoopbackSocket.Server, format: RingLayout.Format) throws {
    let world = try World(server, format, regions: 3, without: .memorySlots)
    let same = world.guest.memory.regions
    let more = try same + Self.more(5, behind: world.guest)
    // Through the middle of buffers.
    let cut = try same.flatMap { item in
      let first = item.region.size / 2 + 1000
      return try [(0, first), (first, item.region.size - first)].map { (start: UInt64, size: UInt64) in
        SharedRegion(
          try MemoryRegion(
            guestAddress: item.region.guestAddress + start, size: size, userAddress: item.region.userAddress + start,
            fileOffset: start), file: item.file)
      }
    }
    for round in 0..<40 {
      for table in [same, more, cut, cut.reversed(), same.reversed(), cut, more] {
        try world.send(UInt64(40 + round))
        try world.setTable(table)
      }
      // Without a ring: refused, and the memory stays.
      try world.send(20)
      let error = try #require(throws: VhostUserError.self) { try world.setTable(Array(more.suffix(5))) }
      #expect(error.code == .refused)
    }
    try world.finish()
  }

  @Test(
    "A ring whose buffers are taken away is broken, and not a byte of them is written",
    arguments: LoopbackSocket.Server.allCases, RingLayout.Format.allCases)
  func buffersTakenAway(server: LoopbackSocket.Server, format: RingLayout.Format) throws {
    // More regions than parts of rings: the last one has nothing but buffers, first those of the receiving ring.
    let world = try World(server, format, regions: 16)
    try world.send(100)
    #expect(try world.traffic.run())
    let region = try #require(world.guest.memory.regions.last).region
    try world.frontend.unshare(region)
    let canary = [UInt8](repeating: 0xa5, count: Self.ringSize / 16 * 2048)
    world.guest.memory.write(canary, at: region.guestAddress)
    let error = try #require(throws: VhostUserError.self) {
      for _ in 0..<50 { try world.traffic.run(100) }
    }
    #expect(error.code == .backendFault && error.description.contains("broken"), "\(error)")
    let isUntouched = world.guest.memory.read(region.guestAddress, count: canary.count) == canary
    #expect(isUntouched)
  }
}
