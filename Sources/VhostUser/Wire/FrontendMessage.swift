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
  case setLogBase(LogPayload, descriptor: OwnedFD)
  case setLogFD(descriptor: OwnedFD)
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
  case sendRARP(MACAddress)
  case netSetMTU(UInt16)
  case setBackendRequestFD(descriptor: OwnedFD)
  case iotlb(IOTLBPayload)
  case setVringEndian(index: UInt32, isBigEndian: Bool)
  case getConfiguration(ConfigurationPayload)
  case setConfiguration(ConfigurationPayload)
  case postcopyAdvise
  case postcopyListen
  case postcopyEnd
  case getInflightFD(InflightPayload)
  case setInflightFD(InflightPayload, descriptor: OwnedFD)
  case resetDevice
  case vringKick(index: UInt32)
  case getMaximumMemorySlots
  case addMemoryRegion(MemoryRegionPayload, descriptor: OwnedFD)
  /// The end of the regions that are added after POSTCOPY_LISTEN: QEMU's ADD_MEM_REG of 8 bytes.
  case endMemoryRegions
  case removeMemoryRegion(MemoryRegionPayload)
  case setStatus(DeviceStatus)
  case getStatus
  case getSharedObject(SharedObjectPayload)
  case setDeviceStateFD(DeviceStatePayload, descriptor: OwnedFD)
  case checkDeviceState
  case getVringBaseSkipDrain(index: UInt32)

  /// The ring that it is about, all 32 bits of it; nil when it is about none.
  package var ring: UInt32? {
    switch self {
    case .setVringNum(let payload), .setVringBase(let payload): payload.index
    case .setVringAddress(let payload): payload.index
    case .getVringBase(let index), .setVringKick(let index, _), .setVringCall(let index, _),
      .setVringError(let index, _), .setVringEnable(let index, _), .setVringEndian(let index, _), .vringKick(let index),
      .getVringBaseSkipDrain(let index):
      index
    default: nil
    }
  }

  /// Finds the message's rule and decodes it by that.
  package static func decode(_ message: RawMessage) throws(VhostUserError) -> FrontendMessage {
    try RequestRule.rule(for: message.header).decode(message)
  }
}
