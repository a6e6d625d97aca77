package import Virtio

extension VringStatistics {
  /// Counts packets that were taken from the guest or given to it.
  package mutating func add(_ tally: PacketTally) {
    func packets(_ index: Int) -> UInt64 { UInt64(tally.lengthClasses[index]) }
    self.packets &+= UInt64(tally.packets)
    bytes &+= UInt64(tally.bytes)
    multicastPackets &+= UInt64(tally.multicast)
    broadcastPackets &+= UInt64(tally.broadcast)
    undersizePackets &+= packets(0)
    size64Packets &+= packets(1)
    size65To127Packets &+= packets(2)
    size128To255Packets &+= packets(3)
    size256To511Packets &+= packets(4)
    size512To1023Packets &+= packets(5)
    size1024To1518Packets &+= packets(6)
    size1519ToMaxPackets &+= packets(7)
    for i in chainLengths.indices { chainLengths[i] &+= UInt64(tally.linkClasses[i]) }
    oversized &+= UInt64(tally.oversized)
    dropped &+= UInt64(tally.oversized)
  }

  /// Sets the counts of packets by the classes of lengths that ``PacketTally`` has.
  package mutating func setLengthClasses(_ packets: [UInt64]) {
    precondition(packets.count == SIMD8<Int16>.scalarCount)
    undersizePackets = packets[0]
    size64Packets = packets[1]
    size65To127Packets = packets[2]
    size128To255Packets = packets[3]
    size256To511Packets = packets[4]
    size512To1023Packets = packets[5]
    size1024To1518Packets = packets[6]
    size1519ToMaxPackets = packets[7]
  }
}
