internal import VDPA
internal import VhostUser
internal import Virtio

extension FrontendMessage {
  /// The payload that it would be sent with; nil where the value says no longer which bytes it was.
  var payload: [UInt8]? {
    func u64(_ value: UInt64) -> [UInt8] {
      var writer = WireWriter()
      writer.append(value)
      return writer.bytes
    }
    switch self {
    case .getFeatures, .setOwner, .resetOwner, .setLogFD, .getProtocolFeatures, .getQueueNum, .setBackendRequestFD,
      .postcopyAdvise, .postcopyListen, .postcopyEnd, .resetDevice, .getMaximumMemorySlots, .getStatus,
      .checkDeviceState:
      return []
    case .setFeatures(let features): return u64(features.rawValue)
    case .setProtocolFeatures(let features): return u64(features.rawValue)
    case .netSetMTU(let mtu): return u64(UInt64(mtu))
    case .setStatus(let status): return u64(UInt64(status.rawValue))
    case .sendRARP(let address): return address.bytes + [0, 0]
    case .setMemoryTable(let table, _): return table.encoded
    case .addMemoryRegion(let region, _), .removeMemoryRegion(let region):
      return SingleRegionPayload(region: region).encoded
    case .endMemoryRegions: return u64(0)
    case .setLogBase(let log, _): return log.encoded
    case .setVringNum(let state), .setVringBase(let state): return state.encoded
    case .setVringAddress(let addresses): return addresses.encoded
    case .setVringKick(let index, let file), .setVringCall(let index, let file), .setVringError(let index, let file):
      return VringFilePayload(index: index, hasDescriptor: file != nil).encoded
    case .setVringEnable(let index, let isOn), .setVringEndian(let index, let isOn):
      return VringStatePayload(index: index, number: isOn ? 1 : 0).encoded
    case .vringKick(let index): return VringStatePayload(index: index).encoded
    case .iotlb(let translation): return translation.encoded
    case .getConfiguration(let piece), .setConfiguration(let piece): return piece.encoded
    case .getInflightFD(let record), .setInflightFD(let record, _): return record.encoded
    case .getSharedObject(let object): return object.encoded
    case .setDeviceStateFD(let transfer, _): return transfer.encoded
    // The number of GET_VRING_BASE means nothing.
    case .getVringBase, .getVringBaseSkipDrain: return nil
    }
  }

  /// The descriptors that it holds.
  var attached: [OwnedFD] {
    switch self {
    case .setMemoryTable(_, let descriptors): return descriptors
    case .setLogBase(_, let descriptor), .setLogFD(let descriptor), .setBackendRequestFD(let descriptor),
      .addMemoryRegion(_, let descriptor), .setInflightFD(_, let descriptor), .setDeviceStateFD(_, let descriptor):
      return [descriptor]
    case .setVringKick(_, let descriptor), .setVringCall(_, let descriptor), .setVringError(_, let descriptor):
      return descriptor.map { [$0] } ?? []
    default: return []
    }
  }
}

extension FrontendRequest {
  /// Which bytes of its payload mean nothing.
  var padding: Range<Int> {
    switch self {
    case .setMemoryTable: 4..<8
    case .addMemoryRegion, .removeMemoryRegion: 0..<8
    case .iotlbMessage: 26..<32
    case .getInflightFD, .setInflightFD: 20..<24
    case .sendRARP: 6..<8
    default: 0..<0
    }
  }
}

extension BackendRequest {
  /// Which bytes of its payload mean nothing.
  var padding: Range<Int> {
    switch self {
    case .iotlbMessage: 26..<32
    // The number beside the ring's index.
    case .vringCall, .vringError: 4..<8
    case .sharedMemoryMap, .sharedMemoryUnmap: 1..<8
    default: 0..<0
    }
  }
}
