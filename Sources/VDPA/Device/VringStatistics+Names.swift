extension VringStatistics {
  /// What the elements of ``chainLengths`` are called.
  static let chainLengthNames = ["1", "2", "3_4", "5_8", "9_16", "17_32", "33_64", "65_max"]

  /// All values by name, for tables and for JSON: first the 21 of DPDK's `rte_vhost_vring_stats_get_names`, in its order
  /// and without its prefix for the queue, then those that it does not have.
  public var named: [(name: String, value: UInt64)] {
    customary + [
      ("dropped_packets", dropped), ("oversized_packets", oversized), ("invalid_headers", invalidHeaders),
      ("broken_rings", broken), ("kicks", kicks),
    ] + zip(VringStatistics.chainLengthNames, chainLengths).map { ("chain_length_\($0)", $1) }
  }

  private var customary: [(name: String, value: UInt64)] {
    [
      ("good_packets", packets), ("good_bytes", bytes), ("multicast_packets", multicastPackets),
      ("broadcast_packets", broadcastPackets), ("undersize_packets", undersizePackets),
      ("size_64_packets", size64Packets), ("size_65_127_packets", size65To127Packets),
      ("size_128_255_packets", size128To255Packets), ("size_256_511_packets", size256To511Packets),
      ("size_512_1023_packets", size512To1023Packets), ("size_1024_1518_packets", size1024To1518Packets),
      ("size_1519_max_packets", size1519ToMaxPackets), ("guest_notifications", calls),
      ("guest_notifications_offloaded", offloadedCalls), ("guest_notifications_error", failedCalls),
      ("guest_notifications_suppressed", suppressedCalls), ("iotlb_hits", iotlbHits), ("iotlb_misses", iotlbMisses),
      ("inflight_submitted", inflightSubmitted), ("inflight_completed", inflightCompleted),
      ("mbuf_alloc_failed", allocationFailures),
    ]
  }
}
