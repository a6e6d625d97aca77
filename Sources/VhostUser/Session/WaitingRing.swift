import Virtio

/// What a started ring waits for before any device can have it: translations of its parts (vhost-user, IOMMU support).
struct WaitingRing {
  /// What is missing, in words.
  let reason: String
  /// What the front-end is to be asked for; empty where no translation helps.
  let misses: [AddressMap.Miss]

  /// - Returns: nil when all parts are there, each in one piece.
  init?(_ index: Int, _ parts: [RingLayout.Part], in map: AddressMap) {
    let missing = parts.filter { !map.hasRange(around: $0.address, length: UInt64($0.length), for: $0.access) }
    guard let first = missing.first else { return nil }
    let place = "its \(first.name) at 0x\(String(first.address, radix: 16))"
    misses = missing.compactMap { map.miss(at: $0.address, length: UInt64($0.length), for: $0.access) }
    reason =
      misses.isEmpty
      ? "vring \(index) cannot be served: \(place) is translated to pieces of memory that do not follow each other"
      : "vring \(index) waits for the translation of \(place)"
  }
}
