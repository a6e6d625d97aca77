import FrontEndTestSupport
import Glibc
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// A front-end whose guest is behind an IOMMU. IO virtual addresses are the guest's physical ones, but stand for nothing
/// before the front-end has said so; whatever waits for an answer meanwhile answers misses, if a test wants that.
final class IOMMUFrontEnd {
  static let page: UInt64 = 4096

  let guest: Guest
  let frontEnd: RawFrontEnd
  /// Its end of the back-channel.
  private(set) var channel: OwnedFD?
  /// Whatever was asked for.
  private(set) var misses: [AddressMap.Miss] = []
  /// Misses that were not answered yet.
  private var open: [AddressMap.Miss] = []
  /// How many calls pass before misses are answered, the last one first.
  var patience = 0
  private var calls = 0

  init(
    path: String, queues: Int = 1, format: RingLayout.Format = .split, features: Features? = nil,
    protocolFeatures: ProtocolFeatures = [.multiqueue, .replyAck, .memorySlots, .status], hasChannel: Bool = true
  ) throws {
    guest = try Guest(queues: queues, format: format, features: .accessPlatform)
    frontEnd = try RawFrontEnd(path: path)
    try frontEnd.negotiate(
      features: features ?? guest.features,
      protocolFeatures: hasChannel ? protocolFeatures.union(.backendRequests) : protocolFeatures)
    guest.share(with: frontEnd)
    if hasChannel {
      let (own, theirs) = try RawFrontEnd.pair()
      channel = own
      let isTaken = try frontEnd.tell(.setBackendRequestFD, descriptors: [theirs.rawValue])
      try #require(isTaken)
    }
  }

  /// Starts rings, by their IO virtual addresses.
  func start(_ rings: [Guest.Ring], at positions: [UInt32]? = nil) throws {
    for (i, ring) in rings.enumerated() {
      let index = UInt32(ring.index)
      let file = VringFilePayload(index: index, hasDescriptor: true).encoded
      frontEnd.send(.setVringNum, VringStatePayload(index: index, number: UInt32(guest.ringSize)).encoded)
      let position = positions?[i] ?? ring.position(after: 0)
      frontEnd.send(.setVringBase, VringStatePayload(index: index, number: position).encoded)
      frontEnd.send(.setVringAddress, parts(of: ring).encoded)
      frontEnd.send(.setVringCall, file, descriptors: [ring.call.rawValue])
      frontEnd.send(.setVringKick, file, descriptors: [ring.kick.rawValue])
      frontEnd.send(.setVringEnable, VringStatePayload(index: index, number: 1).encoded)
    }
    frontEnd.send(.setStatus, bytes(0x0f))
    try settle()
  }

  /// All that was sent has been served.
  func settle() throws { _ = try frontEnd.ask(.getStatus) }

  func parts(of ring: Guest.Ring) -> VringAddressPayload {
    VringAddressPayload(
      index: UInt32(ring.index), descriptor: ring.base, used: ring.base + ring.places.used,
      available: ring.base + ring.places.avail)
  }

  // MARK: Translations

  /// Sends an IOTLB message; whether it was accepted.
  func tell(_ payload: IOTLBPayload) throws -> Bool {
    frontEnd.send(.iotlbMessage, payload.encoded)
    let answer = try #require(try frontEnd.answer())
    try #require(answer.request == FrontendRequest.iotlbMessage.rawValue && answer.flags == 5)
    return answer.value == 0
  }

  func update(
    _ address: UInt64, size: UInt64 = IOMMUFrontEnd.page, access: AddressMap.Access = .readWrite
  ) throws {
    let user = Guest.userBase + (address - Guest.guestBase)
    let isTaken = try tell(
      IOTLBPayload(.update, address: address, size: size, userAddress: user, access: access))
    try #require(isTaken)
  }

  /// Translates the three parts of rings, and nothing else.
  func updateParts(of rings: [Guest.Ring]) throws {
    for ring in rings { try update(ring.base, size: ring.places.tables) }
  }

  func invalidate(_ address: UInt64, size: UInt64 = IOMMUFrontEnd.page) throws {
    let isTaken = try tell(IOTLBPayload(.invalidate, address: address, size: size))
    try #require(isTaken)
  }

  // MARK: Misses

  /// The next request on the back-channel; nil when none comes in time.
  func nextMiss(milliseconds: CInt = 10_000) throws -> AddressMap.Miss? {
    guard let channel else { return nil }
    var entry = pollfd(fd: channel.rawValue, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&entry, 1, milliseconds) == 1 else { return nil }
    var message: [UInt8] = []
    while message.count < MessageHeader.byteCount + IOTLBPayload.byteCount {
      let piece = try StreamSocket.receive(
        channel, atMost: MessageHeader.byteCount + IOTLBPayload.byteCount - message.count, descriptors: 8
      ).bytes
      if piece.isEmpty { return nil }
      message += piece
    }
    try #require(UInt32(message[0]) == BackendRequest.iotlbMessage.rawValue && message[8] == 32)
    let payload = try IOTLBPayload(decoding: Array(message.dropFirst(MessageHeader.byteCount)))
    try #require(payload.kind == .miss)
    let miss = AddressMap.Miss(address: payload.address, access: payload.access)
    misses.append(miss)
    return miss
  }

  /// Answers the misses that have come.
  func answerMisses() throws {
    while let miss = try nextMiss(milliseconds: 0) { open.append(miss) }
    calls += 1
    guard calls > patience else { return }
    calls = 0
    for miss in open.reversed() { try update(miss.address & ~(IOMMUFrontEnd.page - 1)) }
    open = []
  }

  /// Answers misses from now on, whenever the guest waits.
  func answerWhileWaiting() {
    guest.whileWaiting = { [unowned self] in try answerMisses() }
  }

  func closeChannel() {
    if let channel { StreamSocket.shutDown(channel) }
    channel = nil
  }
}
