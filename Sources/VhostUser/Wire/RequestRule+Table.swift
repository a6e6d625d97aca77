import VDPA
import Virtio

extension RequestRule {
  /// Every request that is served (vhost-user, Front-end message types).
  package static let table: [FrontendRequest: RequestRule] = Dictionary(
    uniqueKeysWithValues: rules.map { ($0.request, $0) })

  private static let rules: [RequestRule] = [
    // Features and ownership.
    RequestRule(.getFeatures, answer: .value) { _, _ in .getFeatures },
    RequestRule(.setFeatures, payload: .exactly(8)) { (reader, _) throws(VhostUserError) in
      .setFeatures(Features(rawValue: try reader.u64()))
    },
    RequestRule(.getProtocolFeatures, answer: .value, offered: .protocolFeatures) { _, _ in .getProtocolFeatures },
    RequestRule(.setProtocolFeatures, payload: .exactly(8), offered: .protocolFeatures) {
      (reader, _) throws(VhostUserError) in
      .setProtocolFeatures(ProtocolFeatures(rawValue: try reader.u64()))
    },
    RequestRule(.setOwner) { _, _ in .setOwner },
    RequestRule(.resetOwner) { _, _ in .resetOwner },
    RequestRule(.getQueueNum, answer: .value, negotiated: .multiqueue) { _, _ in .getQueueNum },

    // Memory.
    RequestRule(
      .setMemoryTable, payload: .between(MemoryTablePayload.byteCounts),
      descriptors: 0...MemoryTablePayload.maximumRegions, replacedBy: .memorySlots
    ) { (reader, descriptors) throws(VhostUserError) in
      let table = try MemoryTablePayload(from: &reader)
      try table.check(descriptors: descriptors.count)
      return .setMemoryTable(table, descriptors: descriptors)
    },
    RequestRule(.getMaximumMemorySlots, answer: .value, negotiated: .memorySlots) { _, _ in .getMaximumMemorySlots },
    RequestRule(
      .addMemoryRegion, payload: .exactly(SingleRegionPayload.byteCount), descriptors: 1...1, negotiated: .memorySlots
    ) { (reader, descriptors) throws(VhostUserError) in
      .addMemoryRegion(try SingleRegionPayload(from: &reader).region, descriptor: descriptors[0])
    },
    // Early front-ends attach the region's descriptor here too; it is closed.
    RequestRule(
      .removeMemoryRegion, payload: .exactly(SingleRegionPayload.byteCount), descriptors: 0...1,
      negotiated: .memorySlots
    ) { (reader, _) throws(VhostUserError) in
      .removeMemoryRegion(try SingleRegionPayload(from: &reader).region)
    },

    // Vrings.
    RequestRule(.setVringNum, payload: .exactly(VringStatePayload.byteCount)) { (reader, _) throws(VhostUserError) in
      .setVringNum(try VringStatePayload(from: &reader))
    },
    RequestRule(.setVringAddress, payload: .exactly(VringAddressPayload.byteCount)) {
      (reader, _) throws(VhostUserError) in
      .setVringAddress(try VringAddressPayload(from: &reader))
    },
    RequestRule(.setVringBase, payload: .exactly(VringStatePayload.byteCount)) { (reader, _) throws(VhostUserError) in
      .setVringBase(try VringStatePayload(from: &reader))
    },
    RequestRule(.getVringBase, payload: .exactly(VringStatePayload.byteCount), answer: .vringState) {
      (reader, _) throws(VhostUserError) in
      .getVringBase(index: try VringStatePayload(from: &reader).index)
    },
    vringFile(.setVringKick) { .setVringKick(index: $0, descriptor: $1) },
    vringFile(.setVringCall) { .setVringCall(index: $0, descriptor: $1) },
    vringFile(.setVringError) { .setVringError(index: $0, descriptor: $1) },
    RequestRule(
      .setVringEnable, payload: .exactly(VringStatePayload.byteCount), offered: .protocolFeatures
    ) { (reader, _) throws(VhostUserError) in
      let state = try VringStatePayload(from: &reader)
      guard state.number <= 1 else {
        throw VhostUserError(.malformed, "\(state.number) instead of 0 or 1").with(ring: Int(state.index))
      }
      return .setVringEnable(index: state.index, enabled: state.number == 1)
    },

    // Device.
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
    RequestRule(.setStatus, payload: .exactly(8), negotiated: .status) { (reader, _) throws(VhostUserError) in
      let value = try reader.u64()
      guard let status = UInt8(exactly: value) else {
        throw VhostUserError(.malformed, "a device status of 0x\(String(value, radix: 16)), which has 8 bits")
      }
      return .setStatus(DeviceStatus(rawValue: status))
    },
    RequestRule(.getStatus, answer: .value, negotiated: .status) { _, _ in .getStatus },
  ]

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
