import FrontEndTestSupport
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// Every message in every state of a session, against a table that was written from the specification's text and not from
/// the one that the session goes by.
struct MessageStateTests {
  /// How far a front-end has come: each stage with all before it.
  enum Stage: Int, CaseIterable {
    case connected
    /// Protocol features are negotiated, REPLY_ACK among them.
    case protocolNegotiated
    case featuresAccepted
    case memoryShared
    /// Rings 0 and 1 have a size, a position and addresses.
    case described
    case started
    case enabled
    /// Stopped again.
    case stopped
  }

  /// What has to come of a message.
  ///
  /// - `+`: It is taken: acknowledged with 0 where REPLY_ACK was negotiated, silently where not.
  /// - `-`: It is refused: acknowledged with another number where REPLY_ACK was negotiated; where not the connection ends.
  /// - `=`: It is answered, whatever was negotiated.
  /// - `x`: The connection ends, for no answer says no.
  /// - `f`: It is answered with a number other than 0, whatever was negotiated.
  /// - `e`: It is answered with an empty payload, which says no.
  struct Row: CustomTestStringConvertible, Sendable {
    let number: UInt32
    let outcomes: String
    let payload: [UInt8]
    let descriptors: Int
    let note: String

    init(
      _ request: FrontendRequest, _ outcomes: String, _ payload: [UInt8] = [], descriptors: Int = 0, note: String = ""
    ) {
      self.init(number: request.rawValue, outcomes, payload, descriptors: descriptors, note: note)
    }

    init(number: UInt32, _ outcomes: String, _ payload: [UInt8] = [], descriptors: Int = 0, note: String = "") {
      (self.number, self.outcomes, self.payload) = (number, outcomes, payload)
      (self.descriptors, self.note) = (descriptors, note)
    }

    var testDescription: String { "\(FrontendRequest.name(of: number))\(note.isEmpty ? "" : ", \(note)"): \(outcomes)" }
  }

  private static let ring = VringStatePayload(index: 0, number: 0).encoded
  private static let on = VringStatePayload(index: 0, number: 1).encoded
  private static let file = VringFilePayload(index: 0, hasDescriptor: true).encoded
  private static let features = bytes(Features([.version1, .netMergeableBuffers, .protocolFeatures]).rawValue)
  private static let own = MemoryRegionPayload(
    guestAddress: Guest.guestBase, size: 0x20000, userAddress: Guest.userBase, mapOffset: 0)
  private static let another = MemoryRegionPayload(
    guestAddress: 1 << 40, size: 0x1000, userAddress: 1 << 40, mapOffset: 0)
  private static let offered = CapableWorld.protocolFeatures.union([.inbandNotifications, .crossEndian])

  /// Columns: connected, protocol negotiated, features accepted, memory shared, described, started, enabled, stopped.
  static let rows: [Row] = [
    Row(.getFeatures, "========"),
    Row(.setFeatures, "++++++++", features),
    Row(.setFeatures, "+++++--+", bytes(Features([.version1, .protocolFeatures]).rawValue), note: "others"),
    Row(.setFeatures, "--------", bytes(1 << 63), note: "not offered"),
    Row(.setOwner, "++++++++"),
    // Deprecated: it may be ignored.
    Row(.resetOwner, "++++++++"),
    // Replaced by ADD_MEM_REG once CONFIGURE_MEM_SLOTS is negotiated.
    Row(.setMemoryTable, "+-------", MemoryTablePayload(regions: [another]).encoded, descriptors: 1),
    Row(.setVringNum, "+++++--+", VringStatePayload(index: 0, number: 64).encoded),
    Row(.setVringNum, "--------", VringStatePayload(index: 0x10000, number: 64).encoded, note: "no such ring"),
    Row(.setVringNum, "--------", VringStatePayload(index: 0, number: 65).encoded, note: "not a power of two"),
    Row(.setVringAddress, "++++++++", note: "the same again"),
    Row(.setVringBase, "+++++--+", ring),
    Row(.getVringBase, "========", ring),
    Row(.getVringBase, "xxxxxxxx", VringStatePayload(index: 4).encoded, note: "no such ring"),
    // A ring is not started before it was described.
    Row(.setVringKick, "----++++", file, descriptors: 1),
    Row(.setVringCall, "++++++++", file, descriptors: 1),
    Row(.setVringError, "++++++++", file, descriptors: 1),
    Row(.setVringCall, "--------", file, note: "without its descriptor"),
    Row(.getProtocolFeatures, "========"),
    Row(.setProtocolFeatures, "++++++++", bytes(offered.rawValue)),
    Row(.setProtocolFeatures, "--------", bytes(1 << 63), note: "not offered"),
    Row(.getQueueNum, "x======="),
    Row(.setVringEnable, "++++++++", on),
    Row(.setVringEnable, "--------", VringStatePayload(index: 0, number: 2).encoded, note: "neither on nor off"),
    Row(.sendRARP, "-+++++++", [0x52, 0x54, 0, 1, 2, 3, 0, 0]),
    Row(.netSetMTU, "-+++++++", bytes(1500)),
    Row(.netSetMTU, "--------", bytes(67), note: "less than any network has"),
    Row(.setBackendRequestFD, "--------", note: "without its descriptor"),
    Row(.setVringEndian, "-++++--+", ring, note: "little-endian"),
    Row(.setVringEndian, "--------", on, note: "big-endian"),
    Row(.getConfiguration, "e=======", ConfigurationPayload(offset: 0, bytes: [0, 0]).encoded),
    Row(.setConfiguration, "-+++++++", ConfigurationPayload(offset: 4, bytes: [0]).encoded),
    Row(.createCryptoSession, "--------"),
    Row(.closeCryptoSession, "--------", bytes(0)),
    Row(.gpuSetSocket, "--------", descriptors: 1),
    Row(.getSharedMemoryConfiguration, "--------"),
    Row(.resetDevice, "-+++++++"),
    // The first kick starts a ring, which has to be described.
    Row(.vringKick, "----++++", ring),
    Row(.getMaximumMemorySlots, "x======="),
    Row(.addMemoryRegion, "-+++++++", SingleRegionPayload(region: another).encoded, descriptors: 1),
    // It is there from `memoryShared` on, and the started rings are in it.
    Row(.removeMemoryRegion, "---++--+", SingleRegionPayload(region: own).encoded),
    Row(.setStatus, "-+++++++", bytes(0x0f)),
    Row(.getStatus, "x======="),
    Row(.getSharedObject, "x=======", [UInt8](repeating: 0, count: 16)),
    Row(.checkDeviceState, "ffffffff", note: "without a transfer"),
    Row(number: 0, "--------"),
    Row(number: 46, "--------"),
    Row(number: .max, "--------"),
  ]

  @Test("Each message has its outcome in each state, and where the connection goes on, it serves", arguments: rows)
  func outcome(row: Row) throws {
    for (stage, expected) in zip(Stage.allCases, row.outcomes) {
      let world = try CapableWorld(enabling: [.inbandNotifications, .crossEndian], negotiating: nil)
      try bring(world, to: stage)
      let found = try play(row, in: world, isAcknowledging: stage != .connected)
      #expect(found == expected, "\(row.testDescription) in \(stage)")
      guard found != "x", !(found == "-" && stage == .connected) else { continue }
      #expect(try world.frontEnd.ask(.getFeatures) != 0)
    }
  }

  @Test("The table has every request that is served by a device with every capability")
  func tableIsWhole() {
    let played = Set(MessageStateTests.rows.map(\.number))
    let elsewhere: Set<FrontendRequest> = [
      // With an effect beyond the session, and tests of their own.
      .setLogBase, .setLogFD, .iotlbMessage, .postcopyAdvise, .postcopyListen, .postcopyEnd, .getInflightFD,
      .setInflightFD, .setDeviceStateFD, .getVringBaseSkipDrain,
    ]
    for request in FrontendRequest.allCases where !elsewhere.contains(request) {
      #expect(played.contains(request.rawValue), "\(request)")
    }
  }

  private func bring(_ world: CapableWorld, to stage: Stage) throws {
    let frontEnd = world.frontEnd
    func reaches(_ other: Stage) -> Bool { stage.rawValue >= other.rawValue }
    if reaches(.protocolNegotiated) {
      _ = try frontEnd.ask(.getFeatures)
      frontEnd.send(.setProtocolFeatures, bytes(MessageStateTests.offered.rawValue))
    }
    if reaches(.featuresAccepted) { frontEnd.send(.setFeatures, MessageStateTests.features) }
    if reaches(.memoryShared) {
      frontEnd.send(
        .addMemoryRegion, SingleRegionPayload(region: MessageStateTests.own).encoded,
        descriptors: [world.guest.file.rawValue])
    }
    if reaches(.described) { for ring in world.guest.rings { world.guest.describe(ring, to: frontEnd) } }
    if reaches(.started) {
      for ring in world.guest.rings {
        let file = VringFilePayload(index: UInt32(ring.index), hasDescriptor: true).encoded
        frontEnd.send(.setVringKick, file, descriptors: [ring.kick.rawValue])
      }
      frontEnd.send(.setStatus, bytes(0x0f))
    }
    if reaches(.enabled) {
      for index in 0..<UInt32(2) { frontEnd.send(.setVringEnable, VringStatePayload(index: index, number: 1).encoded) }
    }
    if reaches(.stopped) { for index in 0..<2 { _ = try frontEnd.stop(index) } }
    _ = try frontEnd.ask(.getFeatures)
    if stage == .started || stage == .enabled { #expect(world.socket.status.isReady) }
  }

  private func play(_ row: Row, in world: CapableWorld, isAcknowledging: Bool) throws -> Character {
    var payload = row.payload
    var descriptors = [CInt](repeating: world.guest.rings[0].call.rawValue, count: row.descriptors)
    switch FrontendRequest(rawValue: row.number) {
    case .setVringAddress: payload = world.guest.rings[0].addresses.encoded
    case .addMemoryRegion, .setMemoryTable: descriptors = [world.guest.file.rawValue]
    default: break
    }
    let header = MessageHeader(request: row.number, flags: isAcknowledging ? .needReply : [], size: payload.count)
    world.frontEnd.send(bytes: header.encoded + payload, descriptors: descriptors)
    // Something that is always answered, so that silence is noticed.
    world.frontEnd.send(.getFeatures)
    guard let answer = try world.frontEnd.answer() else { return isAcknowledging ? "x" : closed(row) }
    guard answer.request == row.number, row.number != FrontendRequest.getFeatures.rawValue else {
      if row.number == FrontendRequest.getFeatures.rawValue { _ = try world.frontEnd.answer() }
      return row.number == FrontendRequest.getFeatures.rawValue ? "=" : "+"
    }
    #expect(answer.flags == 5)
    _ = try world.frontEnd.answer()
    let rule = FrontendRequest(rawValue: row.number).flatMap { RequestRule.table[$0] }
    switch rule?.answer ?? .acknowledgement {
    case .acknowledgement: return answer.value == 0 ? "+" : "-"
    case .result: return answer.value == 0 ? "=" : "f"
    case .payload: return "="
    case .configuration: return answer.payload.isEmpty ? "e" : "="
    }
  }

  /// A message that wants no answer and ends the connection was refused.
  private func closed(_ row: Row) -> Character {
    let answered: Set<UInt32> = [1, 11, 15, 17, 24, 36, 40, 41]
    return answered.contains(row.number) ? "x" : "-"
  }
}
