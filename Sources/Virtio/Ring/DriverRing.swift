internal import CLinux

/// The driver side of a ring, split or packed (virtio 1.2, §2.7.13 and §2.8.21): makes buffers available and takes them
/// back.
///
/// What the device writes is checked like what a guest writes: a device that returns a chain that it does not have, or
/// more bytes than a chain holds, is an error and never a wild access. The bookkeeping is private; the ring's memory is
/// written and never trusted.
package struct DriverRing {
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
    /// It returned a chain that it does not have.
    case unknownHead(UInt32)
    /// It says that it wrote more bytes than the chain has room for.
    case tooLong(UInt32)
    /// It returned more chains than it has.
    case usedIndex
    /// It skipped chains, of which it did not say that they were used (`VIRTIO_F_IN_ORDER`).
    case order(UInt32)
  }

  /// A chain that is with the device.
  private struct Chain {
    /// Split: which descriptors, unless they are taken in order.
    var descriptors: [Int]
    /// Packed: the descriptors as they were written, for the device writes over them.
    var entries: [RingDescriptor]
    /// How many descriptors of the ring.
    var count: Int
    /// How many bytes the device may write.
    var writable: UInt64
    /// Its number in the order added.
    var number: UInt64
  }

  package let memory: RingMemory
  private let size: Int
  private let hasEventIndex: Bool
  private let isInOrder: Bool
  private let tables: IndirectTables?

  /// Chains by id.
  private var chains: [Chain?]
  /// The ids of the chains that are with the device; the n-th chain's at n modulo the ring's size.
  private var order: [Int]
  /// Ids that are free: split, descriptors, unless they are taken in order.
  private var free: [Int]
  /// The descriptor to be taken next in order.
  private var nextDescriptor = 0
  /// How many descriptors of the ring are free.
  package private(set) var freeCount: Int

  /// How many chains were ever added, announced and taken back, counted from where a split ring started.
  private var added: UInt64
  private var published: UInt64
  private var collected: UInt64
  /// Chains that the device returned in order, up to this one, with its length (`VIRTIO_F_IN_ORDER`).
  private var batch: (end: UInt64, length: UInt32) = (0, 0)

  /// Packed: positions, and the first descriptor that is not announced.
  private var nextAvail: UInt16
  private var nextUsed: UInt16
  private var firstUnpublished: (position: UInt16, flags: UInt16) = (0, 0)
  /// How far positions have moved since the device was last asked whether it wants a kick.
  private var unpublished = 0

  /// A ring without chains; makes its memory so.
  ///
  /// - Parameters:
  ///   - features: What was negotiated; order and event indices follow it.
  ///   - tables: For indirect chains, as many as the ring has descriptors; nil for none.
  ///   - start: The position at which both sides start; nil for the beginning.
  package init(_ memory: RingMemory, features: Features, tables: IndirectTables? = nil, startingAt start: UInt16? = nil)
  {
    self.memory = memory
    size = memory.size
    hasEventIndex = features.contains(.eventIndex)
    isInOrder = features.contains(.inOrder)
    self.tables = tables
    chains = Array(repeating: nil, count: size)
    order = Array(repeating: 0, count: size)
    free = (0..<size).reversed()
    freeCount = size
    let start = start ?? memory.start
    (nextAvail, nextUsed) = (start, start)
    switch memory {
    case .split(let area):
      (added, published, collected) = (UInt64(start), UInt64(start), UInt64(start))
      area.setAvailFlags(0)
      area.publishAvailIndex(start)
      area.setUsedFlags(0)
      area.publishUsedIndex(start)
      guard hasEventIndex else { break }
      area.setUsedEvent(start)
      area.setAvailEvent(start)
    case .packed(let area):
      (added, published, collected) = (0, 0, 0)
      area.clear(startingAt: start)
    }
  }

  /// How many chains are with the device.
  package var outstanding: Int { Int(added &- collected) }

  // MARK: To the device

  /// Writes a chain, not yet announced.
  ///
  /// - Parameters:
  ///   - pieces: At least one; those that the device reads come first.
  ///   - isIndirect: Whether to put the pieces into a table, so that the chain takes one descriptor of the ring.
  /// - Returns: The chain's id, nil when there are not enough free descriptors or no table is that long.
  package mutating func add(_ pieces: [Piece], isIndirect: Bool = false) -> UInt16? {
    let count = isIndirect ? 1 : pieces.count
    guard !pieces.isEmpty, count <= freeCount else { return nil }
    if isIndirect {
      guard let tables, pieces.count <= tables.length else { return nil }
    }
    let id =
      switch memory {
      case .split(let area): add(area, pieces, isIndirect: isIndirect)
      case .packed(let area): add(area, pieces, isIndirect: isIndirect)
      }
    chains[id]?.writable = pieces.reduce(UInt64(0)) { $0 + ($1.isWritable ? UInt64($1.length) : 0) }
    order[Int(added % UInt64(size))] = id
    freeCount -= count
    added += 1
    return UInt16(id)
  }

  private func descriptors(_ pieces: [Piece], link: (Int) -> UInt16) -> [RingDescriptor] {
    pieces.enumerated().map { i, piece in
      let isLast = i == pieces.count - 1
      return RingDescriptor(
        address: piece.address, length: piece.length,
        flags: (isLast ? 0 : RingDescriptor.next) | (piece.isWritable ? RingDescriptor.write : 0), link: link(i))
    }
  }

  private func table<A: RingArea>(_ area: A, _ id: Int, _ pieces: [Piece]) -> [RingDescriptor] {
    guard let tables else { return [] }
    var entries = descriptors(pieces) { A.isSequential || $0 == pieces.count - 1 ? 0 : UInt16($0 + 1) }
    // In a packed ring's table the flag is reserved (virtio 1.2, §2.8.8).
    if A.isSequential { for i in entries.indices { entries[i].flags &= ~RingDescriptor.next } }
    let address = tables.write(A.self, table: id, entries)
    return [
      RingDescriptor(
        address: address, length: UInt32(pieces.count * 16), flags: RingDescriptor.indirect,
        link: A.isSequential ? UInt16(id) : 0)
    ]
  }

  private mutating func add(_ area: SplitRingArea, _ pieces: [Piece], isIndirect: Bool) -> Int {
    let count = isIndirect ? 1 : pieces.count
    let taken: [Int]
    if isInOrder {
      // Descriptors are taken in the order of the table (virtio 1.2, §2.7.9).
      taken = (0..<count).map { (nextDescriptor + $0) % size }
      nextDescriptor = (nextDescriptor + count) % size
    } else {
      taken = free.suffix(count).reversed()
      free.removeLast(count)
    }
    let entries =
      isIndirect
      ? table(area, taken[0], pieces) : descriptors(pieces) { $0 == count - 1 ? 0 : UInt16(taken[$0 + 1]) }
    for (index, entry) in zip(taken, entries) { area.setDescriptor(index, entry) }
    area.setHead(at: UInt16(truncatingIfNeeded: added), UInt16(taken[0]))
    chains[taken[0]] = Chain(
      descriptors: isInOrder ? [] : taken, entries: [], count: count, writable: 0, number: added)
    unpublished += 1
    return taken[0]
  }

  private mutating func add(_ area: PackedRingArea, _ pieces: [Piece], isIndirect: Bool) -> Int {
    let id = free.removeLast()
    let entries = isIndirect ? table(area, id, pieces) : descriptors(pieces) { _ in UInt16(id) }
    for (i, entry) in entries.enumerated() {
      let position = area.advance(nextAvail, by: i)
      // A chain is made available by its first descriptor, and all that are announced together by the very first.
      if unpublished == 0 && i == 0 { firstUnpublished = (position, entry.flags) }
      if i > 0 { area.setAvailable(position, entry, isFirst: false) }
    }
    area.setAvailable(nextAvail, entries[0], isFirst: unpublished == 0)
    nextAvail = area.advance(nextAvail, by: entries.count)
    chains[id] = Chain(descriptors: [], entries: entries, count: entries.count, writable: 0, number: added)
    unpublished += entries.count
    return id
  }

  /// Announces the chains that were added.
  ///
  /// - Returns: Whether the device wants a kick for them.
  package mutating func publish() -> Bool {
    guard published != added else { return false }
    let moved = unpublished
    published = added
    unpublished = 0
    switch memory {
    case .split(let area):
      area.publishAvailIndex(UInt16(truncatingIfNeeded: added))
      clinux_fence()
      return hasEventIndex
        ? SplitRingArea.passed(area.availEvent, next: UInt16(truncatingIfNeeded: added), count: moved)
        : area.usedFlags & SplitRingArea.noNotify == 0
    case .packed(let area):
      area.publishAvailable(firstUnpublished.position, flags: firstUnpublished.flags)
      clinux_fence()
      return area.isWanted(area.deviceEventValue, next: nextAvail, count: moved, hasEventIndex: hasEventIndex)
    }
  }

  // MARK: After a device that has gone

  /// Where the driver looks for what is used next. Once everything was collected, and no device has the ring, both sides
  /// can start there.
  package var position: UInt16 {
    switch memory {
    case .split: UInt16(truncatingIfNeeded: collected)
    case .packed: nextUsed
    }
  }

  /// Makes all chains that are with the device available anew, in the order added, from ``position`` on.
  ///
  /// For a device that no longer touches the ring and has not given them back, before the next one starts at that
  /// position. What it gave back has been collected. A packed ring needs this because a device that ends while it writes
  /// used descriptors has written over those of chains that it did not return yet.
  package mutating func resubmit() {
    precondition(collected >= batch.end, "what the device gave back was not collected")
    let waiting = chains.indices.filter { chains[$0] != nil }.sorted {
      (chains[$0]?.number ?? 0) < (chains[$1]?.number ?? 0)
    }
    for (i, id) in waiting.enumerated() {
      chains[id]?.number = collected + UInt64(i)
      order[Int((collected + UInt64(i)) % UInt64(size))] = id
    }
    switch memory {
    case .split(let area):
      for (i, id) in waiting.enumerated() {
        area.setHead(at: UInt16(truncatingIfNeeded: collected &+ UInt64(i)), UInt16(id))
      }
      // What the one before wanted of kicks is not what the next one wants.
      area.setUsedFlags(0)
      if hasEventIndex { area.setAvailEvent(UInt16(truncatingIfNeeded: added)) }
      area.publishAvailIndex(UInt16(truncatingIfNeeded: added))
    case .packed(let area):
      area.clear(startingAt: nextUsed)
      nextAvail = nextUsed
      for id in waiting {
        for entry in chains[id]?.entries ?? [] {
          area.setAvailable(nextAvail, entry, isFirst: false)
          nextAvail = area.advance(nextAvail, by: 1)
        }
      }
    }
    published = added
    unpublished = 0
  }

  // MARK: From the device

  /// Takes back the next chain that the device is done with.
  ///
  /// - Returns: Its id and the number of bytes written, nil when there is none. A chain that the device did not say
  ///   anything about, because a later one stands for it (`VIRTIO_F_IN_ORDER`), was written completely.
  /// - Throws: What the device did wrong.
  package mutating func collect() throws(DeviceFault) -> (head: UInt16, length: UInt32)? {
    if collected < batch.end { return take(order[Int(collected % UInt64(size))]) }
    guard let entry = try used() else { return nil }
    guard entry.id < UInt32(size), let chain = chains[Int(entry.id)], chain.number < published else {
      throw .unknownHead(entry.id)
    }
    guard UInt64(entry.length) <= chain.writable else { throw .tooLong(entry.length) }
    if isInOrder {
      guard chain.number - collected < UInt64(entry.limit) else { throw .order(entry.id) }
      batch = (chain.number + 1, entry.length)
      return take(order[Int(collected % UInt64(size))])
    }
    batch = (collected + 1, entry.length)
    return take(Int(entry.id))
  }

  /// What the device says that it used next, and how many chains that may stand for.
  private func used() throws(DeviceFault) -> (id: UInt32, length: UInt32, limit: Int)? {
    switch memory {
    case .split(let area):
      let position = UInt16(truncatingIfNeeded: collected)
      let waiting = area.usedIndex &- position
      guard waiting > 0 else { return nil }
      // Only what was announced is with the device; a chain that was only added is not its to return.
      guard UInt64(waiting) <= published &- collected else { throw .usedIndex }
      let entry = area.usedEntry(position)
      return (entry.id, entry.length, Int(waiting))
    case .packed(let area):
      return area.usedEntry(nextUsed).map { ($0.id, $0.length, size) }
    }
  }

  private mutating func take(_ id: Int) -> (head: UInt16, length: UInt32)? {
    guard let chain = chains[id] else { return nil }
    chains[id] = nil
    collected += 1
    freeCount += chain.count
    let length =
      collected == batch.end ? batch.length : UInt32(truncatingIfNeeded: min(chain.writable, UInt64(UInt32.max)))
    switch memory {
    case .split: if !isInOrder { free += chain.descriptors.reversed() }
    case .packed(let area):
      free.append(id)
      nextUsed = area.advance(nextUsed, by: chain.count)
    }
    return (UInt16(id), length)
  }

  /// Asks the device for calls, or to do without. After asking for them the ring must be looked at once more.
  ///
  /// - Parameter count: How many chains to wait for (`VIRTIO_F_EVENT_IDX`); without it, every one.
  package func setWantsCalls(_ wanted: Bool, after count: Int = 1) {
    switch memory {
    case .split(let area):
      if hasEventIndex {
        // An event that was passed already is one that the device does not come to soon.
        let position = wanted ? collected &+ UInt64(max(count, 1)) &- 1 : collected &- 1
        area.setUsedEvent(UInt16(truncatingIfNeeded: position))
      } else {
        area.setAvailFlags(wanted ? 0 : SplitRingArea.noInterrupt)
      }
    case .packed(let area):
      guard wanted, hasEventIndex else {
        area.setDriverEvent(0, flags: wanted ? PackedRingArea.enable : PackedRingArea.disable)
        break
      }
      // How many descriptors the chains have that come back first is known only in order; each has one at least.
      var position = nextUsed
      for i in 0..<UInt64(min(max(count, 1) - 1, outstanding)) {
        let chain = isInOrder ? chains[order[Int((collected + i) % UInt64(size))]] : nil
        position = area.advance(position, by: chain?.count ?? 1)
      }
      area.setDriverEvent(position, flags: PackedRingArea.descriptor)
    }
    clinux_fence()
  }
}
