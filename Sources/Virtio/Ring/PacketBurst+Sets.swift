/// Several packets of a burst at once, each named by a bit: a loop over them is on this side of the module's boundary.
extension PacketBurst {
  /// Writes the same header in front of packets, as ``setHeader(_:of:)`` does.
  package func setHeader(_ header: NetHeader, ofEach packets: UInt64) {
    var rest = packets
    while rest != 0 {
      setHeader(header, of: rest.trailingZeroBitCount)
      rest &= rest &- 1
    }
  }

  /// Adds copies of packets of another burst with their headers, those for which there is room.
  package func append(copiesOf packets: UInt64, from other: PacketBurst) {
    var rest = packets
    while rest != 0 {
      append(copyOf: rest.trailingZeroBitCount, from: other)
      rest &= rest &- 1
    }
  }
}

extension PacketQueue {
  /// Takes packets with their buffers out of a burst on the same pool, in order, until there is no room for one.
  ///
  /// - Returns: Those that were not taken.
  package mutating func take(_ packets: UInt64, of burst: PacketBurst) -> UInt64 {
    var rest = packets
    while rest != 0, take(rest.trailingZeroBitCount, of: burst) { rest &= rest &- 1 }
    return rest
  }
}
