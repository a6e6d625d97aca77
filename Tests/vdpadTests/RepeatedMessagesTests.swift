import FrontEndTestSupport
import Peers
import SystemPackage
import Testing
import VDPA
import VhostUser
import Virtio

/// The same messages over and over on one connection, whose first pair runs: nothing of what came with them stays
/// (CVE-2019-14818).
@Suite(.serialized, .timeLimit(.minutes(5)))
struct RepeatedMessagesTests {
  private static let rounds = 10_000
  /// Until allocators and caches have what they keep.
  private static let warmUp = 1000
  /// KiB: less than one allocation in a hundred rounds, and more than a heap breathes.
  private static let growth = 160

  /// A message of the front-end, and whether it is taken.
  private struct Repeated {
    let request: FrontendRequest
    let payload: [UInt8]
    var descriptors: [CInt] = []
    var isTaken = true

    init(_ request: FrontendRequest, _ payload: [UInt8] = [], _ descriptors: [CInt] = [], isTaken: Bool = true) {
      (self.request, self.payload, self.descriptors, self.isTaken) = (request, payload, descriptors, isTaken)
    }

    func send(_ frontEnd: RawFrontEnd) throws {
      let isTaken = try frontEnd.tell(request, payload, descriptors: descriptors)
      if isTaken != self.isTaken { Issue.record("\(request) with \(descriptors.count) descriptors") }
    }
  }

  private static func messages(_ guest: Guest, _ own: OwnedFD) -> [Repeated] {
    let (running, stopped) = (guest.rings[0], guest.rings[2])
    func file(_ index: Int) -> [UInt8] { VringFilePayload(index: UInt32(index), hasDescriptor: true).encoded }
    func state(_ index: Int, _ number: UInt32) -> [UInt8] {
      VringStatePayload(index: UInt32(index), number: number).encoded
    }
    let region = SingleRegionPayload(
      region: MemoryRegionPayload(guestAddress: 1 << 40, size: guest.size, userAddress: 1 << 40, mapOffset: 0)
    ).encoded
    let many = Array(repeating: running.kick.rawValue, count: 8)
    return [
      Repeated(.setOwner), Repeated(.resetOwner),
      Repeated(.setVringNum, state(2, 64)), Repeated(.setVringBase, state(2, 0)),
      Repeated(.setVringAddress, stopped.addresses.encoded),
      Repeated(.setVringKick, file(0), [running.kick.rawValue]),
      Repeated(.setVringCall, file(0), [running.call.rawValue]),
      Repeated(.setVringError, file(0), [running.error.rawValue]),
      Repeated(.addMemoryRegion, region, [guest.file.rawValue]), Repeated(.removeMemoryRegion, region),
      Repeated(.setBackendRequestFD, [], [own.rawValue]),
      // More descriptors than it may have, and one where there is to be none.
      Repeated(.setVringCall, file(0), many, isTaken: false),
      Repeated(.setVringNum, state(2, 64), many, isTaken: false),
      Repeated(.setVringNum, state(0, 64), isTaken: false),
    ]
  }

  @Test("10,000 times each message that may come again: no descriptor, mapping or memory stays, and packets flow")
  func nothingStays() async throws {
    try await blocking {
      let daemon = try Daemon("--queues", "2", "--log-level", "info")
      let guest = try Guest(queues: 2)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      try frontEnd.negotiate(
        features: guest.features, protocolFeatures: [.multiqueue, .replyAck, .memorySlots, .status, .backendRequests])
      guest.share(with: frontEnd)
      for ring in guest.rings[0...1] { guest.start(ring, with: frontEnd) }
      frontEnd.send(.setStatus, bytes(0x0f))
      _ = try frontEnd.ask(.getStatus)
      let (own, theirs) = try RawFrontEnd.pair()
      let messages = Self.messages(guest, theirs)
      var before: Footprint?
      for round in 0..<Self.warmUp + Self.rounds {
        if round == Self.warmUp { before = try Footprint.settled(of: daemon.process) }
        for message in messages { try message.send(frontEnd) }
        if round % 100 == 0 { #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3]) }
      }
      let after = try Footprint.settled(of: daemon.process)
      let first = try #require(before)
      #expect(after.holdings == first.holdings, "before: \(first); after: \(after)")
      #expect(after.mappings <= first.mappings, "before: \(first); after: \(after)")
      #expect(after.resident <= first.resident + Self.growth, "before: \(first); after: \(after)")
      withExtendedLifetime(own) {}
      frontEnd.hangUp()
      #expect(try daemon.end() == .exited(0))
    }
  }
}
