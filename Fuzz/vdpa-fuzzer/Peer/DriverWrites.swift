internal import Virtio

/// What a driver writes, right and wrong: the peer of the device's side of a ring, split or packed.
struct DriverWrites {
  /// What a record of the driver's stands for. Other numbers stand for one of these, too.
  enum Kind: UInt8, CaseIterable {
    /// Descriptor `a` with the flags `b` and the link `c`. Packed: made available, with bit 3 of `b` in the wrong lap.
    case descriptor
    /// Split: the chain of head `a` is made available, `b` and one times. Packed: as many descriptors are made available,
    /// with the flags `a`.
    case offer
    /// Split: the available index becomes `d` more than the ring's first position. Packed: `d` descriptors are skipped.
    case availIndex
    /// Split: the entry of the available ring `a` behind the first position becomes head `b`. Packed: the flags of
    /// descriptor `a` become `e`.
    case head
    /// `b` and one descriptors are linked, with the flags `c`; the last one links on with bit 3, each has memory of its own
    /// with bit 4, sixty-four times as many with bit 5. Split: from `a` on. Packed: they are made available.
    case chain
    /// `a` and one chains are made available. Split: heads from `b` on, `c` apart. Packed: of one descriptor each, with the
    /// flags `c`.
    case offerMany
    /// Sixteen bits `e` at `d` in part `a` of the ring.
    case ringWord
    /// Eight bytes of `a`, `b`, `c`, `d` at an address.
    case memoryWord
    /// The driver's wish to be called: flags `a`, position `d`.
    case event
    /// A chain as a driver makes it, of `a` and one pieces, those from `b` on writable, with bit 7 of `a` in a table.
    case properChain
    /// A table of `a` and one descriptors at an address, with a descriptor for it; `c` are the flags of its entries, and
    /// more about what is wrong with it. Split: descriptor `b`, and it is not made available.
    case indirect
    /// A block request of kind `a` at an address, with `d` bytes of data in `b` pieces; `c` is the sector and what is wrong.
    case blockRequest
  }

  let ring: RingPlacement
  let memory: FuzzMemory
  /// The position of what is made available next.
  private var added: UInt16
  /// Split: the descriptor that a chain begins with next.
  private var nextDescriptor = 0

  /// A driver whose ring is empty.
  init(_ ring: RingPlacement, in memory: FuzzMemory) {
    self.ring = ring
    self.memory = memory
    added = ring.first
  }

  /// A ring in order: nothing to fetch, `lag` used entries to come. A packed ring is empty as it is.
  func begin(lag: UInt16, on list: StoreList) {
    guard ring.format == .split else { return }
    list.add(ring.first, to: ring.availIndex, in: memory)
    list.add(ring.first &- lag, to: ring.usedIndex, in: memory)
  }

  mutating func write(_ r: Record, to list: StoreList) {
    guard ring.size > 0 else { return }
    switch Kind(rawValue: (r.kind & 0x7f) % UInt8(Kind.allCases.count)) ?? .descriptor {
    case .descriptor:
      let position = r.b & 8 == 0 ? added : added ^ 0x8000
      setDescriptor(
        list, at: ring.descriptor(Int(r.a) % ring.size), address: memory.address(r.e, ring: ring), length: r.length,
        flags: flags(r.b) | lap(position), link: index(r.c))
    case .offer:
      for _ in 0...r.b % 16 {
        if ring.format == .split { offer(head: index(r.a), list) } else { offer(flags: flags(r.a), list) }
      }
    case .availIndex:
      if ring.format == .split {
        list.add(ring.first &+ r.d, to: ring.availIndex, in: memory)
      } else {
        added = ring.advance(added, by: Int(r.d) % ring.size)
      }
    case .head:
      if ring.format == .split {
        list.add(index(r.b), to: ring.availHead(ring.first &+ UInt16(r.a)), in: memory)
      } else {
        list.add(r.e, to: ring.descriptor(Int(r.a) % ring.size) &+ ring.flagsOffset, in: memory)
      }
    case .chain: chain(r, list)
    case .offerMany: offerMany(r, list)
    case .ringWord:
      let part = Int(r.a) % 3
      list.add(r.e, to: ring.parts[part] &+ UInt64(Int(r.d) % ring.lengths[part]), in: memory)
    case .memoryWord:
      let value = UInt64(r.a) | UInt64(r.b) << 16 | UInt64(r.c) << 32 | UInt64(r.d) << 48
      list.add(value, to: memory.address(r.e, ring: ring), in: memory)
    case .event:
      if ring.format == .split {
        list.add(UInt16(r.a), to: ring.availFlags, in: memory)
        list.add(ring.first &+ r.d, to: ring.usedEvent, in: memory)
      } else {
        list.add(UInt32(r.d) | UInt32(r.a) << 16, to: ring.driverEvent, in: memory)
      }
    case .properChain:
      let address = memory.address(r.e, ring: ring)
      let pieces = (0...Int(r.a & 7)).map { i in
        Piece(address: address &+ UInt64(i) &* UInt64(r.length), length: r.length, isWritable: i >= Int(r.b))
      }
      let table = address &- UInt64(16 * pieces.count)
      add(pieces, table: r.a & 128 != 0 ? table : nil, list)
    case .indirect: indirect(r, list)
    case .blockRequest: blockRequest(r, list)
    }
  }

  // MARK: Descriptors

  /// A descriptor's number, from one byte: the last two values stand for numbers that no ring has.
  private func index(_ code: UInt8) -> UInt16 {
    switch code {
    case 255: UInt16(ring.size)
    case 254: 0xffff
    default: UInt16(Int(code) % ring.size)
    }
  }

  private func flags(_ code: UInt8) -> UInt16 { UInt16(code & 7) | (code & 0x80 == 0 ? 0 : UInt16(code) << 4 & 0x7f70) }

  /// The bits that make a descriptor of a packed ring available.
  private func lap(_ position: UInt16) -> UInt16 {
    ring.format == .split ? 0 : RingPlacement.availFlags(position)
  }

  func setDescriptor(
    _ list: StoreList, at place: UInt64, address: UInt64, length: UInt32, flags: UInt16, link: UInt16
  ) {
    let (flagsAt, linkAt): (UInt64, UInt64) = ring.format == .split ? (32, 48) : (48, 32)
    list.add(address, to: place, in: memory)
    list.add(UInt64(length) | UInt64(flags) << flagsAt | UInt64(link) << linkAt, to: place &+ 8, in: memory)
  }

  private mutating func offer(head: UInt16, _ list: StoreList) {
    list.add(head, to: ring.availHead(added), in: memory)
    added &+= 1
    list.add(added, to: ring.availIndex, in: memory)
  }

  private mutating func offer(flags: UInt16, _ list: StoreList) {
    let place = ring.descriptor(ring.index(added)) &+ ring.flagsOffset
    list.add(flags | lap(added), to: place, in: memory)
    added = ring.advance(added, by: 1)
  }

  private mutating func offerMany(_ r: Record, _ list: StoreList) {
    for i in 0...UInt32(r.a) {
      if ring.format == .split {
        offer(head: UInt16((UInt32(r.b) &+ i &* UInt32(r.c)) % UInt32(ring.size)), list)
      } else {
        setDescriptor(
          list, at: ring.descriptor(ring.index(added)), address: memory.address(r.e, ring: ring), length: r.length,
          flags: UInt16(r.c & 7) | lap(added), link: UInt16(r.b))
        added = ring.advance(added, by: 1)
      }
    }
  }

  private mutating func chain(_ r: Record, _ list: StoreList) {
    let count = min((Int(r.b) + 1) * (r.c & 32 == 0 ? 1 : 64), ring.size)
    let start = Int(index(r.a)) % ring.size
    var address = memory.address(r.e, ring: ring)
    for i in 0..<count {
      let isLast = i == count - 1
      let flags = UInt16(r.c & 6) | (!isLast || r.c & 8 != 0 ? RingDescriptor.next : 0)
      if ring.format == .split {
        setDescriptor(
          list, at: ring.descriptor((start + i) % ring.size), address: address, length: r.length, flags: flags,
          link: UInt16(isLast ? start : (start + i + 1) % ring.size))
      } else {
        setDescriptor(
          list, at: ring.descriptor(ring.index(added)), address: address, length: r.length, flags: flags | lap(added),
          link: UInt16(r.a))
        added = ring.advance(added, by: 1)
      }
      if r.c & 16 != 0 { address &+= UInt64(r.length) }
    }
  }

  // MARK: Chains as they should be

  /// A piece of a buffer.
  struct Piece {
    var address: UInt64
    var length: UInt32
    var isWritable: Bool
  }

  /// Makes a chain available.
  ///
  /// - Parameter table: Where its table is; nil for none.
  mutating func add(_ pieces: [Piece], table: UInt64?, _ list: StoreList) {
    let pieces = pieces.prefix(table == nil ? ring.size : pieces.count)
    let count = table == nil ? pieces.count : 1
    // Split: the descriptors of the ring that it takes.
    let taken = (0..<count).map { (nextDescriptor + $0) % ring.size }
    nextDescriptor = (nextDescriptor + count) % ring.size
    for (i, piece) in pieces.enumerated() {
      let isLast = i == pieces.count - 1
      let flags = (isLast ? 0 : RingDescriptor.next) | (piece.isWritable ? RingDescriptor.write : 0)
      if let table {
        setDescriptor(
          list, at: table &+ UInt64(i * 16), address: piece.address, length: piece.length, flags: flags,
          link: UInt16(i + 1))
      } else {
        place(piece.address, piece.length, flags, number: i, taken, list)
      }
    }
    if let table { place(table, UInt32(pieces.count * 16), RingDescriptor.indirect, number: 0, taken, list) }
    if ring.format == .split { offer(head: UInt16(taken[0]), list) }
  }

  /// Writes the descriptor of the ring with a number in its chain.
  private mutating func place(
    _ address: UInt64, _ length: UInt32, _ flags: UInt16, number: Int, _ taken: [Int], _ list: StoreList
  ) {
    if ring.format == .split {
      let next = number + 1 < taken.count ? taken[number + 1] : 0
      setDescriptor(
        list, at: ring.descriptor(taken[number]), address: address, length: length, flags: flags, link: UInt16(next))
    } else {
      setDescriptor(
        list, at: ring.descriptor(ring.index(added)), address: address, length: length, flags: flags | lap(added),
        link: UInt16(taken[0]))
      added = ring.advance(added, by: 1)
    }
  }

  private mutating func indirect(_ r: Record, _ list: StoreList) {
    let count = Int(r.a & 31) + 1
    let table = memory.address(r.e, ring: ring)
    let data = table &+ UInt64(count * 16)
    for i in 0..<count {
      let links = i < count - 1 || r.c & 8 != 0
      setDescriptor(
        list, at: table &+ UInt64(i * 16), address: data &+ UInt64(i) &* UInt64(r.length), length: r.length,
        flags: UInt16(r.c & 6) | (links ? RingDescriptor.next : 0),
        link: r.c & 16 != 0 ? UInt16(count) : UInt16((i + 1) % count))
    }
    let length = UInt32(count * 16) &+ UInt32(r.c >> 5) &* 5
    if ring.format == .split {
      setDescriptor(
        list, at: ring.descriptor(Int(r.b) % ring.size), address: table, length: length,
        flags: RingDescriptor.indirect, link: 0)
    } else {
      place(table, length, RingDescriptor.indirect, number: 0, [Int(r.b)], list)
    }
  }
}
