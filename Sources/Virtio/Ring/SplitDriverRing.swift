internal import CLinux

/// The driver side of a split ring (virtio 1.2, §2.7.13): makes buffers available and takes them back.
///
/// What the device writes is checked like what a guest writes: a device that returns a head that it does not have, or
/// more bytes than a chain holds, is an error and never a wild access. The bookkeeping is private; the ring's memory is
/// written and never trusted.
package struct SplitDriverRing {
  /// A piece of a buffer.
  package struct Piece: Sendable {
    package var address: UInt64
    package var length: UInt32
    package var isWritable: Bool

    package init(address: UInt64, length: UInt32, isWritable: Bool) {
      self.address = address
      self.length = length
      self.isWritable = isWritable
    }
  }

  /// What a device must not do.
  package enum DeviceFault: Error, Hashable {
    /// It returned a head that it does not have.
    case unknownHead(UInt32)
    /// It says that it wrote more bytes than the chain has room for.
    case tooLong(UInt32)
    /// It returned more chains than it has.
    case usedIndex
  }

  package let area: SplitRingArea
  private var free: [UInt16]
  /// For each head that is taken: its descriptors, how many bytes may be written, and its number in the order added.
  private var chains: [(descriptors: [UInt16], writable: UInt64, number: UInt64)?]
  /// How many chains were ever added, announced and taken back; their low 16 bits are the ring's positions.
  private var added: UInt64 = 0
  private var published: UInt64 = 0
  private var collected: UInt64 = 0

  /// A ring that starts empty at position 0; clears flags and indices.
  package init(area: SplitRingArea) {
    self.area = area
    free = (0..<area.size).reversed().map { UInt16($0) }
    chains = Array(repeating: nil, count: area.size)
    area.setAvailFlags(0)
    area.publishAvailIndex(0)
    area.setUsedFlags(0)
    area.publishUsedIndex(0)
  }

  /// How many descriptors are free.
  package var freeCount: Int { free.count }
  /// How many chains are with the device.
  package var outstanding: Int { Int(added &- collected) }

  /// Writes a chain and puts it into the available ring, not yet announced.
  ///
  /// - Parameter pieces: At least one; those that the device reads come first.
  /// - Returns: The chain's head, nil when there are not enough free descriptors.
  package mutating func add(_ pieces: [Piece]) -> UInt16? {
    guard !pieces.isEmpty, pieces.count <= free.count else { return nil }
    let taken = Array(free.suffix(pieces.count).reversed())
    free.removeLast(pieces.count)
    for (i, piece) in pieces.enumerated() {
      let isLast = i == pieces.count - 1
      area.setDescriptor(
        taken[i],
        SplitRingArea.Descriptor(
          address: piece.address, length: piece.length,
          flags: (isLast ? 0 : SplitRingArea.Descriptor.next) | (piece.isWritable ? SplitRingArea.Descriptor.write : 0),
          next: isLast ? 0 : taken[i + 1]))
    }
    let writable = pieces.reduce(UInt64(0)) { $0 + ($1.isWritable ? UInt64($1.length) : 0) }
    chains[Int(taken[0])] = (taken, writable, added)
    area.setAvailHead(UInt16(truncatingIfNeeded: added), taken[0])
    added &+= 1
    return taken[0]
  }

  /// Announces the chains that were added.
  ///
  /// - Returns: Whether the device wants a kick for them.
  package mutating func publish() -> Bool {
    guard published != added else { return false }
    area.publishAvailIndex(UInt16(truncatingIfNeeded: added))
    published = added
    clinux_fence()
    return area.usedFlags & SplitRingArea.noNotify == 0
  }

  /// Takes back the next chain that the device is done with.
  ///
  /// - Returns: Its head and the number of bytes written, nil when there is none.
  /// - Throws: What the device did wrong.
  package mutating func collect() throws(DeviceFault) -> (head: UInt16, length: UInt32)? {
    let position = UInt16(truncatingIfNeeded: collected)
    let waiting = area.usedIndex &- position
    guard waiting > 0 else { return nil }
    // Only what was announced is with the device; a chain that was only added is not its to return.
    guard UInt64(waiting) <= published &- collected else { throw .usedIndex }
    let entry = area.usedEntry(position)
    guard entry.id < UInt32(area.size), let chain = chains[Int(entry.id)], chain.number < published else {
      throw .unknownHead(entry.id)
    }
    guard UInt64(entry.length) <= chain.writable else { throw .tooLong(entry.length) }
    collected &+= 1
    chains[Int(entry.id)] = nil
    free += chain.descriptors.reversed()
    return (UInt16(entry.id), entry.length)
  }

  /// Asks the device for calls, or to do without.
  package func setWantsCalls(_ wanted: Bool) {
    area.setAvailFlags(wanted ? 0 : SplitRingArea.noInterrupt)
    clinux_fence()
  }
}
