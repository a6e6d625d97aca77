import VDPA

/// Packets that passed a datapath, seen from it.
struct PacketCount: Codable, Hashable {
  /// Taken from the front-end.
  var packetsIn: UInt64 = 0
  /// Given back to it.
  var packetsOut: UInt64 = 0

  init(packetsIn: UInt64 = 0, packetsOut: UInt64 = 0) {
    self.packetsIn = packetsIn
    self.packetsOut = packetsOut
  }

  /// Adds up the vrings of net devices, of which the even ones receive and the odd ones transmit, as the guest sees it
  /// (virtio 1.2, §5.1.2).
  init(_ vrings: [VringStatistics]) {
    for (index, vring) in vrings.enumerated() {
      if index.isMultiple(of: 2) { packetsOut += vring.packets } else { packetsIn += vring.packets }
    }
  }

  /// What was counted since `earlier`.
  func since(_ earlier: PacketCount) -> PacketCount {
    PacketCount(packetsIn: packetsIn &- earlier.packetsIn, packetsOut: packetsOut &- earlier.packetsOut)
  }
}
