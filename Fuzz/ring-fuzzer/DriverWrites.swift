internal import Virtio

/// What a driver writes, right and wrong: the peer of the device's side of a ring.
struct DriverWrites: PeerWrites {
  /// What a record of the driver's stands for. Other numbers stand for one of these, too.
  enum Kind: UInt8 {
    /// Descriptor `a` with the flags `b` and the next one `c`.
    case descriptor
    /// The chain of head `a` is made available, once or `b` times.
    case offer
    /// The available index becomes `d` more than the ring's first position.
    case availIndex
    /// The entry of the available ring `a` behind the first position becomes head `b`.
    case head
    /// `b` and one descriptors from `a` on are linked, with the flags `c`; the last one links to the first with bit 3,
    /// each has memory of its own with bit 4, sixty-four times as many with bit 5.
    case chain
    /// `a` and one heads from `b` on, `c` apart, are made available.
    case offerMany
    /// Sixteen bits `e` at `d` in part `a` of the ring.
    case ringWord
    /// Eight bytes of `a`, `b`, `c`, `d` at an address.
    case memoryWord
    /// The flags of the available ring become `a`, its event index `d`.
    case flags
    /// A chain as a driver makes it, of `a` and one descriptors, those from `b` on writable, is made available.
    case properChain
    /// A table of `a` and one descriptors at an address, with descriptor `b` for it; `c` are the flags of its entries.
    case indirect
  }

  private let ring: RingPlacement
  private let memory: FuzzMemory
  private let first: UInt16
  private var added: UInt16
  private var nextDescriptor = 0

  /// A driver whose ring is empty and goes on at `first`.
  init(_ ring: RingPlacement, in memory: FuzzMemory, first: UInt16) {
    self.ring = ring
    self.memory = memory
    self.first = first
    added = first
  }

  /// A ring in order: nothing to fetch, `lag` used entries to come.
  func begin(lag: UInt16, on list: StoreList) {
    list.add(first, to: ring.availIndex, in: memory)
    list.add(first &- lag, to: ring.usedIndex, in: memory)
  }

  /// A descriptor's number, from one byte: the last two values stand for numbers that no ring has.
  private func index(_ code: UInt8) -> UInt16 {
    switch code {
    case 255: UInt16(ring.size)
    case 254: 0xffff
    default: UInt16(Int(code) % max(ring.size, 1))
    }
  }

  private func flags(_ code: UInt8) -> UInt16 { UInt16(code & 7) | (code & 0x80 == 0 ? 0 : UInt16(code) << 8) }

  private func setDescriptor(
    _ list: StoreList, at place: UInt64, address: UInt64, length: UInt32, flags: UInt16, next: UInt16
  ) {
    list.add(address, to: place, in: memory)
    list.add(UInt64(length) | UInt64(flags) << 32 | UInt64(next) << 48, to: place &+ 8, in: memory)
  }

  private mutating func offer(_ head: UInt16, _ list: StoreList) {
    list.add(head, to: ring.availHead(added), in: memory)
    added &+= 1
    list.add(added, to: ring.availIndex, in: memory)
  }

  mutating func write(_ r: Record, to list: StoreList) {
    guard ring.size > 0 else { return }
    switch Kind(rawValue: (r.kind & 0x7f) % 11) ?? .descriptor {
    case .descriptor:
      setDescriptor(
        list, at: ring.descriptor(Int(r.a) % ring.size), address: memory.address(r.e, ring: ring), length: r.length,
        flags: flags(r.b), next: index(r.c))
    case .offer:
      for _ in 0...r.b % 16 { offer(index(r.a), list) }
    case .availIndex:
      list.add(first &+ r.d, to: ring.availIndex, in: memory)
    case .head:
      list.add(index(r.b), to: ring.availHead(first &+ UInt16(r.a)), in: memory)
    case .chain:
      chain(r, list)
    case .offerMany:
      for i in 0...UInt16(r.a) { offer((UInt16(r.b) &+ i &* UInt16(r.c)) % UInt16(ring.size), list) }
    case .ringWord:
      let part = Int(r.a) % 3
      list.add(r.e, to: ring.parts[part] &+ UInt64(Int(r.d) % ring.lengths[part]), in: memory)
    case .memoryWord:
      let value = UInt64(r.a) | UInt64(r.b) << 16 | UInt64(r.c) << 32 | UInt64(r.d) << 48
      list.add(value, to: memory.address(r.e, ring: ring), in: memory)
    case .flags:
      list.add(UInt16(r.a), to: ring.availFlags, in: memory)
      list.add(first &+ r.d, to: ring.usedEvent, in: memory)
    case .properChain:
      properChain(r, list)
    case .indirect:
      indirect(r, list)
    }
  }

  private func chain(_ r: Record, _ list: StoreList) {
    let count = min((Int(r.b) + 1) * (r.c & 32 == 0 ? 1 : 64), ring.size)
    let start = Int(index(r.a)) % ring.size
    var address = memory.address(r.e, ring: ring)
    for i in 0..<count {
      let isLast = i == count - 1
      let links = !isLast || r.c & 8 != 0
      setDescriptor(
        list, at: ring.descriptor((start + i) % ring.size), address: address, length: r.length,
        flags: UInt16(r.c & 6) | (links ? 1 : 0), next: UInt16(isLast ? start : (start + i + 1) % ring.size))
      if r.c & 16 != 0 { address &+= UInt64(r.length) }
    }
  }

  private mutating func properChain(_ r: Record, _ list: StoreList) {
    let count = min(Int(r.a & 7) + 1, ring.size)
    let indices = (0..<count).map { UInt16((nextDescriptor + $0) % ring.size) }
    nextDescriptor = (nextDescriptor + count) % ring.size
    var address = memory.address(r.e, ring: ring)
    for i in 0..<count {
      let isLast = i == count - 1
      setDescriptor(
        list, at: ring.descriptor(Int(indices[i])), address: address, length: r.length,
        flags: (isLast ? 0 : 1) | (i >= Int(r.b) ? 2 : 0), next: isLast ? 0 : indices[i + 1])
      address &+= UInt64(r.length)
    }
    offer(indices[0], list)
  }

  private func indirect(_ r: Record, _ list: StoreList) {
    let count = Int(r.a & 31) + 1
    let table = memory.address(r.e, ring: ring)
    let data = table &+ UInt64(count * 16)
    for i in 0..<count {
      let links = i < count - 1 || r.c & 8 != 0
      setDescriptor(
        list, at: table &+ UInt64(i * 16), address: data &+ UInt64(i) &* UInt64(r.length), length: r.length,
        flags: UInt16(r.c & 6) | (links ? 1 : 0), next: r.c & 16 != 0 ? UInt16(count) : UInt16((i + 1) % count))
    }
    setDescriptor(
      list, at: ring.descriptor(Int(r.b) % ring.size), address: table,
      length: UInt32(count * 16) &+ UInt32(r.c >> 5) &* 5, flags: 4, next: 0)
  }
}
