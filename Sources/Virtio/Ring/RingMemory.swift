/// The memory of a ring in its format.
package enum RingMemory {
  case split(SplitRingArea)
  case packed(PackedRingArea)

  /// A ring at guest addresses.
  ///
  /// - Parameters:
  ///   - descriptor: The descriptor area's guest address.
  ///   - avail: The driver area's.
  ///   - used: The device area's.
  ///   - memory: Its map must be kept alive for as long as the ring is used.
  /// - Throws: ``VirtioError`` `badRingSize`, or `badRingAddress`, when a part is misaligned or not inside one memory
  ///   region.
  package init(
    _ layout: RingLayout, descriptor: UInt64, avail: UInt64, used: UInt64, memory: MemoryView
  ) throws(VirtioError) {
    self =
      switch layout.format {
      case .split:
        .split(
          try SplitRingArea(size: layout.size, descriptor: descriptor, avail: avail, used: used, memory: memory))
      case .packed:
        .packed(
          try PackedRingArea(
            size: layout.size, descriptor: descriptor, driverEvent: avail, deviceEvent: used, memory: memory))
      }
  }

  /// The number of descriptors.
  package var size: Int {
    switch self {
    case .split(let area): area.size
    case .packed(let area): area.size
    }
  }

  /// The position at which a ring of the format starts.
  package var start: UInt16 {
    switch self {
    case .split: RingLayout.Format.split.start
    case .packed: RingLayout.Format.packed.start
    }
  }

  /// A position as one that the ring has.
  func position(_ position: UInt16) -> UInt16 {
    switch self {
    case .split: position
    case .packed(let area): area.advance(position, by: 0)
    }
  }

  /// The position at which the chain of a packet was announced.
  ///
  /// - Parameters:
  ///   - index: Which packet of the burst; it and those behind it are the last ones that were fetched.
  ///   - nextAvail: The position of the next chain to be fetched.
  package func position(of index: Int, in burst: PacketBurst, nextAvail: UInt16) -> UInt16 {
    var position = nextAvail
    for i in (min(index, burst.count)..<burst.count).reversed() {
      position =
        switch self {
        case .split(let area): area.retreat(position, by: Int(burst[i].descriptors))
        case .packed(let area): area.retreat(position, by: Int(burst[i].descriptors))
        }
    }
    return position
  }
}
