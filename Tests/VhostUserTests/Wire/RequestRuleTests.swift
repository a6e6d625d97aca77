import Testing
import VDPA
import VhostUser
import Virtio

struct RequestRuleTests {
  @Test("Every request of the specification is served, or refused with a reason")
  func tableIsWhole() {
    let served = Set(RequestRule.table.keys)
    let refused = Set(RequestRule.refused.keys)
    #expect(served.isDisjoint(with: refused) && served.union(refused) == Set(FrontendRequest.allCases))
    for (request, rule) in RequestRule.table { #expect(rule.request == request) }
    #expect(refused.map(\.rawValue).sorted() == [26, 27, 33, 44])
  }

  @Test(arguments: [0, 26, 27, 33, 44, 46, .max] as [UInt32])
  func anythingElseIsRefusedByName(number: UInt32) {
    let error = #expect(throws: VhostUserError.self) {
      try RequestRule.rule(for: MessageHeader(request: number, size: 0))
    }
    #expect(error?.code == .unknownRequest)
    #expect(error?.request == FrontendRequest.name(of: number))
  }

  private func isLegal(
    _ request: FrontendRequest, offered: Features = .protocolFeatures, _ negotiated: ProtocolFeatures = []
  ) throws -> Bool {
    let rule = try #require(RequestRule.table[request])
    do {
      try rule.check(offered: offered, accepted: [], protocolFeatures: negotiated)
      return true
    } catch {
      #expect(error.code == .notNegotiated && error.request == request.description)
      return false
    }
  }

  @Test(
    arguments: [
      (.getQueueNum, .multiqueue), (.netSetMTU, .mtu), (.getConfiguration, .configuration),
      (.getMaximumMemorySlots, .memorySlots), (.addMemoryRegion, .memorySlots), (.removeMemoryRegion, .memorySlots),
      (.setStatus, .status), (.getStatus, .status),
    ] as [(FrontendRequest, ProtocolFeatures)])
  func needsItsProtocolFeature(request: FrontendRequest, feature: ProtocolFeatures) throws {
    #expect(try isLegal(request, feature))
    #expect(try !isLegal(request, ProtocolFeatures(rawValue: .max).subtracting(feature)))
  }

  @Test(arguments: [.getProtocolFeatures, .setProtocolFeatures, .setVringEnable] as [FrontendRequest])
  func needsProtocolFeaturesOffered(request: FrontendRequest) throws {
    #expect(try isLegal(request))
    #expect(try !isLegal(request, offered: Features(rawValue: ~Features.protocolFeatures.rawValue)))
  }

  @Test func memoryTableIsReplacedByRegions() throws {
    #expect(try isLegal(.setMemoryTable))
    #expect(try !isLegal(.setMemoryTable, .memorySlots))
  }

  @Test func othersNeedNothing() throws {
    for request in [FrontendRequest.getFeatures, .setFeatures, .setOwner, .resetOwner, .setVringNum, .setVringKick] {
      #expect(try isLegal(request, offered: []))
    }
  }

  @Test func acceptedFeaturesAreNeeded() throws {
    let rule = RequestRule(.iotlbMessage, accepted: .accessPlatform) { _, _ in .getFeatures }
    try rule.check(offered: [], accepted: .accessPlatform, protocolFeatures: [])
    #expect(throws: VhostUserError.self) {
      try rule.check(offered: .accessPlatform, accepted: [], protocolFeatures: [])
    }
  }

  @Test func acknowledgement() throws {
    let (plain, asking) = (
      MessageHeader(request: 8, size: 8), MessageHeader(request: 8, flags: .needReply, size: 8)
    )
    let rule = try #require(RequestRule.table[.setVringNum])
    #expect(rule.wantsAnswer(asking, protocolFeatures: .replyAck))
    #expect(!rule.wantsAnswer(plain, protocolFeatures: .replyAck))
    #expect(!rule.wantsAnswer(asking, protocolFeatures: []))
    // What answers anyway does not answer twice.
    let iotlb = try #require(RequestRule.table[.iotlbMessage])
    #expect(iotlb.wantsAnswer(plain, protocolFeatures: []))
    let getter = try #require(RequestRule.table[.getFeatures])
    #expect(!getter.wantsAnswer(asking, protocolFeatures: .replyAck))
  }
}
