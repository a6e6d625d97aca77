extension FrontendMessage {
  /// Which request it is.
  package var request: FrontendRequest {
    switch self {
    case .getFeatures: .getFeatures
    case .setFeatures: .setFeatures
    case .setOwner: .setOwner
    case .resetOwner: .resetOwner
    case .setMemoryTable: .setMemoryTable
    case .setLogBase: .setLogBase
    case .setLogFD: .setLogFD
    case .setVringNum: .setVringNum
    case .setVringAddress: .setVringAddress
    case .setVringBase: .setVringBase
    case .getVringBase: .getVringBase
    case .setVringKick: .setVringKick
    case .setVringCall: .setVringCall
    case .setVringError: .setVringError
    case .getProtocolFeatures: .getProtocolFeatures
    case .setProtocolFeatures: .setProtocolFeatures
    case .getQueueNum: .getQueueNum
    case .setVringEnable: .setVringEnable
    case .sendRARP: .sendRARP
    case .netSetMTU: .netSetMTU
    case .setBackendRequestFD: .setBackendRequestFD
    case .iotlb: .iotlbMessage
    case .setVringEndian: .setVringEndian
    case .getConfiguration: .getConfiguration
    case .setConfiguration: .setConfiguration
    case .postcopyAdvise: .postcopyAdvise
    case .postcopyListen: .postcopyListen
    case .postcopyEnd: .postcopyEnd
    case .getInflightFD: .getInflightFD
    case .setInflightFD: .setInflightFD
    case .resetDevice: .resetDevice
    case .vringKick: .vringKick
    case .getMaximumMemorySlots: .getMaximumMemorySlots
    case .addMemoryRegion, .endMemoryRegions: .addMemoryRegion
    case .removeMemoryRegion: .removeMemoryRegion
    case .setStatus: .setStatus
    case .getStatus: .getStatus
    case .getSharedObject: .getSharedObject
    case .setDeviceStateFD: .setDeviceStateFD
    case .checkDeviceState: .checkDeviceState
    case .getVringBaseSkipDrain: .getVringBaseSkipDrain
    }
  }
}
