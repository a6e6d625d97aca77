import Testing

@testable import VDPA

struct VringStatisticsTests {
  /// DPDK's names, without the prefix that names the queue (lib/vhost, vhost_vq_stats).
  private static let customary = [
    "good_packets", "good_bytes", "multicast_packets", "broadcast_packets", "undersize_packets", "size_64_packets",
    "size_65_127_packets", "size_128_255_packets", "size_256_511_packets", "size_512_1023_packets",
    "size_1024_1518_packets", "size_1519_max_packets", "guest_notifications", "guest_notifications_offloaded",
    "guest_notifications_error", "guest_notifications_suppressed", "iotlb_hits", "iotlb_misses", "inflight_submitted",
    "inflight_completed", "mbuf_alloc_failed",
  ]

  @Test("All of DPDK's counters are there by their names, in its order, and more")
  func names() {
    let names = VringStatistics().named.map(\.name)
    #expect(Array(names.prefix(21)) == Self.customary)
    #expect(Set(names).count == names.count)
    #expect(
      Set(names).isSuperset(
        of: ["dropped_packets", "oversized_packets", "invalid_headers", "broken_rings", "kicks", "chain_length_65_max"])
    )
  }

  @Test("Every value has one name, and each name its own value")
  func values() {
    var statistics = VringStatistics()
    let fields: [WritableKeyPath<VringStatistics, UInt64>] = [
      \.packets, \.bytes, \.multicastPackets, \.broadcastPackets, \.undersizePackets, \.size64Packets,
      \.size65To127Packets, \.size128To255Packets, \.size256To511Packets, \.size512To1023Packets,
      \.size1024To1518Packets, \.size1519ToMaxPackets, \.calls, \.offloadedCalls, \.failedCalls, \.suppressedCalls,
      \.iotlbHits, \.iotlbMisses, \.inflightSubmitted, \.inflightCompleted, \.allocationFailures, \.dropped,
      \.oversized, \.invalidHeaders, \.broken, \.kicks,
    ]
    for (i, field) in fields.enumerated() { statistics[keyPath: field] = UInt64(i + 1) }
    for i in statistics.chainLengths.indices { statistics.chainLengths[i] = UInt64(fields.count + i + 1) }
    #expect(statistics.named.map(\.value) == Array(1...UInt64(fields.count + 8)))
    // One that is added to the type is added to the names.
    #expect(Mirror(reflecting: statistics).children.count == fields.count + 1)
  }
}
