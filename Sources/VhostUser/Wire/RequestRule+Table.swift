import VDPA
import Virtio

extension RequestRule {
  /// Every request that is served (vhost-user, Front-end message types).
  package static let table: [FrontendRequest: RequestRule] = Dictionary(
    uniqueKeysWithValues: rules.map { ($0.request, $0) })

  /// Every request that is not, and why.
  package static let refused: [FrontendRequest: String] = [
    .createCryptoSession: "no device here has crypto sessions",
    .closeCryptoSession: "no device here has crypto sessions",
    .gpuSetSocket: "no device here is a GPU",
    .getSharedMemoryConfiguration: "no device here has shared memory regions",
  ]

  private static let rules: [RequestRule] =
    sessionRules + memoryRules + vringRules + deviceRules + migrationRules

  private static let sessionRules: [RequestRule] = [
    RequestRule(.getFeatures, answer: .payload) { _, _ in .getFeatures },
    RequestRule(.setFeatures, payload: .exactly(8)) { (reader, _) throws(VhostUserError) in
      .setFeatures(Features(rawValue: try reader.u64()))
    },
    RequestRule(.getProtocolFeatures, answer: .payload, offered: .protocolFeatures) { _, _ in .getProtocolFeatures },
    RequestRule(.setProtocolFeatures, payload: .exactly(8), offered: .protocolFeatures) {
      (reader, _) throws(VhostUserError) in
      .setProtocolFeatures(ProtocolFeatures(rawValue: try reader.u64()))
    },
    RequestRule(.setOwner) { _, _ in .setOwner },
    RequestRule(.resetOwner) { _, _ in .resetOwner },
    RequestRule(.getQueueNum, answer: .payload, negotiated: .multiqueue) { _, _ in .getQueueNum },
    RequestRule(.setBackendRequestFD, descriptors: 1...1, negotiated: .backendRequests) { _, descriptors in
      .setBackendRequestFD(descriptor: descriptors[0])
    },
  ]

  private static let memoryRules: [RequestRule] = [
    RequestRule(
      .setMemoryTable, payload: .between(MemoryTablePayload.byteCounts),
      descriptors: 0...MemoryTablePayload.maximumRegions, replacedBy: .memorySlots
    ) { (reader, descriptors) throws(VhostUserError) in
      let table = try MemoryTablePayload(from: &reader)
      try table.check(descriptors: descriptors.count)
      return .setMemoryTable(table, descriptors: descriptors)
    },
    RequestRule(.getMaximumMemorySlots, answer: .payload, negotiated: .memorySlots) { _, _ in .getMaximumMemorySlots },
    RequestRule(
      .addMemoryRegion, payload: .between(8...SingleRegionPayload.byteCount), descriptors: 0...1,
      negotiated: .memorySlots
    ) { (reader, descriptors) throws(VhostUserError) in
      // QEMU ends the regions of a postcopy migration with a message that has none.
      if reader.remaining == 8 && descriptors.isEmpty {
        try reader.skip(8)
        return .endMemoryRegions
      }
      let region = try SingleRegionPayload(from: &reader).region
      guard let descriptor = descriptors.first else {
        throw VhostUserError(.missingDescriptor, "no descriptor came along")
      }
      return .addMemoryRegion(region, descriptor: descriptor)
    },
    // Early front-ends attach the region's descriptor here too; it is closed.
    RequestRule(
      .removeMemoryRegion, payload: .exactly(SingleRegionPayload.byteCount), descriptors: 0...1,
      negotiated: .memorySlots
    ) { (reader, _) throws(VhostUserError) in
      .removeMemoryRegion(try SingleRegionPayload(from: &reader).region)
    },
    RequestRule(.iotlbMessage, payload: .exactly(IOTLBPayload.byteCount), answer: .result, accepted: .accessPlatform) {
      (reader, _) throws(VhostUserError) in
      .iotlb(try IOTLBPayload(from: &reader))
    },
  ]

  private static let vringRules: [RequestRule] = [
    RequestRule(.setVringNum, payload: .exactly(VringStatePayload.byteCount), legal: .ringStopped) {
      (reader, _) throws(VhostUserError) in
      .setVringNum(try VringStatePayload(from: &reader))
    },
    RequestRule(.setVringAddress, payload: .exactly(VringAddressPayload.byteCount)) {
      (reader, _) throws(VhostUserError) in
      .setVringAddress(try VringAddressPayload(from: &reader))
    },
    RequestRule(.setVringBase, payload: .exactly(VringStatePayload.byteCount), legal: .ringStopped) {
      (reader, _) throws(VhostUserError) in
      .setVringBase(try VringStatePayload(from: &reader))
    },
    RequestRule(.getVringBase, payload: .exactly(VringStatePayload.byteCount), answer: .payload) {
      (reader, _) throws(VhostUserError) in
      .getVringBase(index: try VringStatePayload(from: &reader).index)
    },
    RequestRule(
      .getVringBaseSkipDrain, payload: .exactly(VringStatePayload.byteCount), answer: .payload,
      negotiated: [.vringBaseSkipDrain, .vringBaseInflight, .inflightSharedMemory]
    ) { (reader, _) throws(VhostUserError) in
      .getVringBaseSkipDrain(index: try VringStatePayload(from: &reader).index)
    },
    RequestRule(
      .setVringEndian, payload: .exactly(VringStatePayload.byteCount), negotiated: .crossEndian, legal: .ringStopped
    ) { (reader, _) throws(VhostUserError) in
      let state = try VringStatePayload(from: &reader)
      return .setVringEndian(index: state.index, isBigEndian: try flag(state))
    },
    RequestRule(.vringKick, payload: .exactly(VringStatePayload.byteCount), negotiated: .inbandNotifications) {
      (reader, _) throws(VhostUserError) in
      let state = try VringStatePayload(from: &reader)
      guard state.number == 0 else {
        throw VhostUserError(.malformed, "\(state.number) instead of 0").with(ring: Int(state.index))
      }
      return .vringKick(index: state.index)
    },
    vringFile(.setVringKick) { .setVringKick(index: $0, descriptor: $1) },
    vringFile(.setVringCall) { .setVringCall(index: $0, descriptor: $1) },
    vringFile(.setVringError) { .setVringError(index: $0, descriptor: $1) },
    RequestRule(
      .setVringEnable, payload: .exactly(VringStatePayload.byteCount), offered: .protocolFeatures
    ) { (reader, _) throws(VhostUserError) in
      let state = try VringStatePayload(from: &reader)
      return .setVringEnable(index: state.index, enabled: try flag(state))
    },
  ]

  private static let deviceRules: [RequestRule] = [
    RequestRule(.netSetMTU, payload: .exactly(8), negotiated: .mtu) { (reader, _) throws(VhostUserError) in
      let value = try reader.u64()
      // The least that virtio lets a device have (virtio 1.2, §5.1.4.1), and what its field can hold.
      guard value >= 68, let mtu = UInt16(exactly: value) else {
        throw VhostUserError(.malformed, "an MTU of \(value) bytes, which no network device can have")
      }
      return .netSetMTU(mtu)
    },
    RequestRule(
      .getConfiguration, payload: .between(ConfigurationPayload.byteCounts), answer: .configuration,
      negotiated: .configuration
    ) { (reader, _) throws(VhostUserError) in
      .getConfiguration(try ConfigurationPayload(from: &reader))
    },
    RequestRule(.setConfiguration, payload: .between(ConfigurationPayload.byteCounts), negotiated: .configuration) {
      (reader, _) throws(VhostUserError) in
      .setConfiguration(try ConfigurationPayload(from: &reader))
    },
    RequestRule(.setStatus, payload: .exactly(8), negotiated: .status) { (reader, _) throws(VhostUserError) in
      let value = try reader.u64()
      guard let status = UInt8(exactly: value) else {
        throw VhostUserError(.malformed, "a device status of 0x\(String(value, radix: 16)), which has 8 bits")
      }
      return .setStatus(DeviceStatus(rawValue: status))
    },
    RequestRule(.getStatus, answer: .payload, negotiated: .status) { _, _ in .getStatus },
    RequestRule(.resetDevice, negotiated: .resetDevice) { _, _ in .resetDevice },
    RequestRule(
      .getSharedObject, payload: .exactly(SharedObjectPayload.byteCount), answer: .payload, negotiated: .sharedObject
    ) { (reader, _) throws(VhostUserError) in
      .getSharedObject(try SharedObjectPayload(from: &reader))
    },
  ]

  private static let migrationRules: [RequestRule] = [
    RequestRule(
      .setLogBase, payload: .exactly(LogPayload.byteCount), descriptors: 1...1, answer: .payload,
      negotiated: .logSharedMemory
    ) { (reader, descriptors) throws(VhostUserError) in
      .setLogBase(try LogPayload(from: &reader), descriptor: descriptors[0])
    },
    RequestRule(.setLogFD, descriptors: 1...1) { _, descriptors in .setLogFD(descriptor: descriptors[0]) },
    RequestRule(.sendRARP, payload: .exactly(8), negotiated: .rarp) { (reader, _) throws(VhostUserError) in
      let bytes = try reader.raw(8)
      guard let address = MACAddress(bytes: Array(bytes.prefix(6))) else {
        throw VhostUserError(.malformed, "no Ethernet address")
      }
      return .sendRARP(address)
    },
    RequestRule(.postcopyAdvise, answer: .payload, negotiated: .pageFault, legal: .suspended) { _, _ in .postcopyAdvise
    },
    RequestRule(.postcopyListen, negotiated: .pageFault, legal: .suspended) { _, _ in .postcopyListen },
    RequestRule(.postcopyEnd, answer: .result, negotiated: .pageFault) { _, _ in .postcopyEnd },
    RequestRule(
      .getInflightFD, payload: .exactly(InflightPayload.byteCount), answer: .payload, negotiated: .inflightSharedMemory
    ) { (reader, _) throws(VhostUserError) in
      .getInflightFD(try InflightPayload(from: &reader))
    },
    RequestRule(
      .setInflightFD, payload: .exactly(InflightPayload.byteCount), descriptors: 1...1,
      negotiated: .inflightSharedMemory, legal: .suspended
    ) { (reader, descriptors) throws(VhostUserError) in
      .setInflightFD(try InflightPayload(from: &reader), descriptor: descriptors[0])
    },
    RequestRule(
      .setDeviceStateFD, payload: .exactly(DeviceStatePayload.byteCount), descriptors: 1...1, answer: .result,
      negotiated: .deviceState, legal: .suspended
    ) { (reader, descriptors) throws(VhostUserError) in
      .setDeviceStateFD(try DeviceStatePayload(from: &reader), descriptor: descriptors[0])
    },
    RequestRule(.checkDeviceState, answer: .result, negotiated: .deviceState, legal: .suspended) { _, _ in
      .checkDeviceState
    },
  ]

  /// A number that is 0 or 1.
  private static func flag(_ state: VringStatePayload) throws(VhostUserError) -> Bool {
    guard state.number <= 1 else {
      throw VhostUserError(.malformed, "\(state.number) instead of 0 or 1").with(ring: Int(state.index))
    }
    return state.number == 1
  }

  /// The three requests that carry a ring's eventfd differ only in whose it is.
  private static func vringFile(
    _ request: FrontendRequest, _ message: @escaping @Sendable (UInt32, OwnedFD?) -> FrontendMessage
  ) -> RequestRule {
    RequestRule(
      request, payload: .exactly(VringFilePayload.byteCount), descriptors: 0...1
    ) { (reader, descriptors) throws(VhostUserError) in
      let file = try VringFilePayload(from: &reader)
      try file.check(descriptors: descriptors.count)
      return message(file.index, descriptors.first)
    }
  }
}
