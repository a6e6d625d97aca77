internal import VDPA
internal import Virtio

/// What a device says of itself.
extension Conformance {
  static let attributes = [
    ConformanceRule("attributes.sane", "What a device offers is possible, and version 1 is among it") { bench in
      let device = try bench.claim()
      let attributes = device.attributes
      let (features, size) = (attributes.features, attributes.maxRingSize)
      try require(features.contains(.version1), "VIRTIO_F_VERSION_1 (32) is not offered")
      let protocolBits = features.intersection([.logAll, .protocolFeatures])
      try require(protocolBits.isEmpty, "the feature bits \(protocolBits.bits) belong to the protocol, not to a device")
      try require(
        size >= 1 && size <= RingLayout.maxSize && size & (size - 1) == 0,
        "the largest ring has \(size) descriptors, which is no power of two up to \(RingLayout.maxSize)")
      let unit = attributes.type.ringsPerQueue
      try require(
        attributes.vringCount % unit == 0,
        "\(attributes.vringCount) vrings are not a multiple of the \(unit) of a queue")
      if let statistics = device.statistics {
        try require(
          statistics.count == attributes.vringCount,
          "there are counters of \(statistics.count) vrings, not \(attributes.vringCount)")
      }
    },
    ConformanceRule("attributes.stable", "A device that is claimed again is what it was before") { bench in
      let first = try bench.claim()
      let before = first.attributes
      let guest = try bench.guest(for: first, .split)
      try first.start(guest)
      try first.stop()
      bench.release(first)
      let after = try bench.claim().attributes
      try require(after == before, "it was \(before), and is now \(after)")
    },
    ConformanceRule("features.each", "Each feature that is offered can be negotiated, and all of them together") {
      bench in
      let device = try bench.claim()
      let (offered, type) = (device.attributes.features, device.attributes.type)
      // Behind an IOMMU there would have to be translations.
      let usable = offered.subtracting(.accessPlatform)
      for wanted in usable.bits.map({ required(for: Features(bit: $0), type) }) + [usable] {
        let features = wanted.union(.version1).intersection(usable)
        do {
          try device.negotiate(features)
          try device.start(device.makeGuest(ringSize: min(16, device.attributes.maxRingSize), bufferBytes: 0))
          try device.stop()
        } catch {
          throw ConformanceEnd.violation("\(features.describe(for: type)) are offered, and fail together: \(error)")
        }
      }
    },
  ]

  /// A feature with those without which no driver may accept it (virtio 1.2, §5.1.3.1).
  private static func required(for feature: Features, _ type: DeviceType) -> Features {
    guard type == .net else { return feature }
    return switch feature {
    case .netHostTSO4, .netHostTSO6, .netHostUFO: feature.union(.netChecksum)
    case .netHostECN: feature.union([.netChecksum, .netHostTSO4, .netHostTSO6])
    case .netGuestTSO4, .netGuestTSO6, .netGuestUFO: feature.union(.netGuestChecksum)
    case .netGuestECN: feature.union([.netGuestChecksum, .netGuestTSO4, .netGuestTSO6])
    // CTRL_VLAN (19), CTRL_MAC_ADDR (23), HASH_REPORT (57), RSS (60).
    case .netControlReceive, .netGuestAnnounce, .netMultiqueue, .netControlGuestOffloads, Features(bit: 19),
      Features(bit: 23), Features(bit: 57), Features(bit: 60):
      feature.union(.netControlQueue)
    // USO (56 for packets that are sent, 54 and 55 for those received).
    case Features(bit: 56): feature.union(.netChecksum)
    case Features(bit: 54), Features(bit: 55): feature.union(.netGuestChecksum)
    // RSC_EXT (61).
    case Features(bit: 61): feature.union([.netChecksum, .netHostTSO4, .netHostTSO6])
    default: feature
    }
  }
}
