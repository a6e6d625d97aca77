package import VDPA
package import Virtio

/// A front-end's request as a value: decoded once, its values checked on their own, its descriptors attached.
///
/// What depends on the session is not checked here: whether the ring's index exists, whether it is legal now, what the
/// descriptors are.
package enum FrontendMessage: Sendable {
  case getFeatures
  case setFeatures(Features)
  case setOwner
  case resetOwner
  /// As many descriptors as regions.
  case setMemoryTable(MemoryTablePayload, descriptors: [OwnedFD])
  case setVringNum(VringStatePayload)
  case setVringAddress(VringAddressPayload)
  case setVringBase(VringStatePayload)
  case getVringBase(index: UInt32)
  /// Without a descriptor the ring is polled.
  case setVringKick(index: UInt32, descriptor: OwnedFD?)
  /// Without a descriptor the ring calls nobody.
  case setVringCall(index: UInt32, descriptor: OwnedFD?)
  case setVringError(index: UInt32, descriptor: OwnedFD?)
  case getProtocolFeatures
  case setProtocolFeatures(ProtocolFeatures)
  case getQueueNum
  case setVringEnable(index: UInt32, enabled: Bool)
  case netSetMTU(UInt16)
  case getConfiguration(ConfigurationPayload)
  case getMaximumMemorySlots
  case addMemoryRegion(MemoryRegionPayload, descriptor: OwnedFD)
  case removeMemoryRegion(MemoryRegionPayload)
  case setStatus(DeviceStatus)
  case getStatus

  /// Finds the message's rule and decodes it by that.
  package static func decode(_ message: RawMessage) throws(VhostUserError) -> FrontendMessage {
    try RequestRule.rule(for: message.header).decode(message)
  }
}
