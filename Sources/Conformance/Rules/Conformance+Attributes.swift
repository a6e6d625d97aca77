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
    ConformanceRule("features.each", "Each feature that is offered can be negotiated") { bench in
      let device = try bench.claim()
      for bit in device.attributes.features.bits {
        let feature = Features(bit: bit)
        // Behind an IOMMU there would have to be translations.
        if feature == .accessPlatform { continue }
        do {
          try device.negotiate(feature.union(.version1))
          try device.start(device.makeGuest(ringSize: min(16, device.attributes.maxRingSize), bufferBytes: 0))
          try device.stop()
        } catch {
          throw ConformanceEnd.violation(
            "\(feature.describe(for: device.attributes.type)) is offered and fails: \(error)")
        }
      }
    },
  ]
}
