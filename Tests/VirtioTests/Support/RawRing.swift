@testable import Virtio

/// A piece of a buffer.
struct RawPiece: Equatable, Sendable {
  var address: UInt64
  var length: UInt32
  var isWritable = false
}

/// A chain of descriptors as one side has written it.
struct RawChain: Equatable, Sendable {
  /// Split: the index of the first descriptor. Packed: the buffer id.
  var id: UInt16
  /// How many descriptors of the ring it takes.
  var descriptors: Int
  var pieces: [RawPiece]

  /// The length of the pieces that the device reads, in bytes.
  var readable: Int { pieces.reduce(0) { $0 + ($1.isWritable ? 0 : Int($1.length)) } }
  /// The length of the pieces that the device writes, in bytes.
  var writable: Int { pieces.reduce(0) { $0 + ($1.isWritable ? Int($1.length) : 0) } }
}

/// A descriptor, the fields by their place in the standard; `link` is `next` of a split and `id` of a packed ring.
struct RawDescriptor: Equatable, Sendable {
  var address: UInt64 = 0
  var length: UInt32 = 0
  var flags: UInt16 = 0
  var link: UInt16 = 0

  static let next: UInt16 = 1
  static let write: UInt16 = 2
  static let indirect: UInt16 = 4
  static let avail: UInt16 = 0x80
  static let used: UInt16 = 0x8000
}

/// A ring's memory, field by field, written straight from virtio 1.2, §2.7 and §2.8: what the code under test is held
/// against, so it shares nothing with it but the addresses. It can write what no correct driver or device writes.
///
/// A position is what vhost-user's VRING_BASE says: split, the free-running index; packed, the index of a descriptor
/// with the wrap counter in bit 15.
struct RawRing: Sendable {
  let bytes: GuestBytes
  let format: RingLayout.Format
  let size: Int
  let start: UInt16
  /// Split: descriptor table, available ring, used ring. Packed: descriptor ring, driver and device event suppression.
  let descriptors: UInt64
  let avail: UInt64
  let used: UInt64

  /// The parts follow each other from `address` on, aligned.
  init(_ bytes: GuestBytes, _ format: RingLayout.Format, size: Int, at address: UInt64 = 0x1_0000, start: UInt16) {
    self.bytes = bytes
    self.format = format
    self.size = size
    self.start = start
    descriptors = address
    avail = address + UInt64(16 * size)
    used = format == .split ? (avail + UInt64(6 + 2 * size) + 3) & ~3 : avail + 4
  }

  private init(_ ring: RawRing, _ bytes: GuestBytes) {
    self.bytes = bytes
    (format, size, start) = (ring.format, ring.size, ring.start)
    (descriptors, avail, used) = (ring.descriptors, ring.avail, ring.used)
  }

  /// The same ring in other bytes.
  func on(_ bytes: GuestBytes) -> RawRing { RawRing(self, bytes) }

  /// The first address behind it.
  var end: UInt64 { used + UInt64(format == .split ? 6 + 8 * size : 4) }
  /// How many positions there are.
  var positions: Int { format == .split ? 0x1_0000 : 2 * size }

  /// Makes it a ring in which nobody has done anything yet. What a side need not write stays as it is.
  func reset() {
    switch format {
    case .split:
      setAvailFlags(0)
      setAvailIndex(start)
      setUsedFlags(0)
      setUsedIndex(start)
    case .packed:
      // Every descriptor was used the last time around, the ones in front of the start in this lap.
      for index in 0..<size {
        let isThisLap = index < Int(start & 0x7fff)
        let wrap = (start & 0x8000 != 0) == isThisLap
        setFlags(index, wrap ? RawDescriptor.avail | RawDescriptor.used : 0)
      }
      setDriverEvent(0, flags: 0)
      setDeviceEvent(0, flags: 0)
    }
  }

  // MARK: Positions

  /// The position behind one chain of a split ring, one descriptor of a packed one.
  func next(_ position: UInt16) -> UInt16 {
    if format == .split { return position &+ 1 }
    let index = position & 0x7fff
    // The wrap counter changes with the last descriptor (virtio 1.2, §2.8.1).
    return Int(index) + 1 == size ? (position & 0x8000) ^ 0x8000 : position + 1
  }
  func next(_ position: UInt16, by steps: Int) -> UInt16 {
    var position = position
    for _ in 0..<steps { position = next(position) }
    return position
  }
  /// How far a chain moves a side.
  func steps(_ chain: RawChain) -> Int { format == .split ? 1 : chain.descriptors }
  func index(_ position: UInt16) -> Int { format == .split ? Int(position) % size : Int(position & 0x7fff) }
  /// The wrap counter of a position in a packed ring.
  func wrap(_ position: UInt16) -> Bool { position & 0x8000 != 0 }

  // MARK: Descriptors

  func descriptorAddress(_ index: Int) -> UInt64 { descriptors + UInt64(16 * index) }
  private var flagsOffset: UInt64 { format == .split ? 12 : 14 }
  private var linkOffset: UInt64 { format == .split ? 14 : 12 }

  /// A descriptor of the ring or of a table.
  func write(_ descriptor: RawDescriptor, at address: UInt64) {
    bytes.write(address, descriptor.address)
    bytes.write(address + 8, descriptor.length)
    bytes.write(address + linkOffset, descriptor.link)
    bytes.write(address + flagsOffset, descriptor.flags)
  }
  func descriptor(at address: UInt64) -> RawDescriptor {
    RawDescriptor(
      address: bytes.uint64(address), length: bytes.uint32(address + 8), flags: bytes.uint16(address + flagsOffset),
      link: bytes.uint16(address + linkOffset))
  }
  func setDescriptor(_ index: Int, _ descriptor: RawDescriptor) { write(descriptor, at: descriptorAddress(index)) }
  func descriptor(_ index: Int) -> RawDescriptor { descriptor(at: descriptorAddress(index)) }
  func setFlags(_ index: Int, _ flags: UInt16) { bytes.write(descriptorAddress(index) + flagsOffset, flags) }
  func flags(_ index: Int) -> UInt16 { bytes.uint16(descriptorAddress(index) + flagsOffset) }

  /// The bits that make a descriptor of a packed ring available, and used, at a position.
  func availBits(_ position: UInt16) -> UInt16 { wrap(position) ? RawDescriptor.avail : RawDescriptor.used }
  func usedBits(_ position: UInt16) -> UInt16 { wrap(position) ? RawDescriptor.avail | RawDescriptor.used : 0 }
  static let bits: UInt16 = RawDescriptor.avail | RawDescriptor.used

  // MARK: Split: available ring and used ring

  func setAvailFlags(_ flags: UInt16) { bytes.write(avail, flags) }
  func setAvailIndex(_ index: UInt16) { bytes.write(avail + 2, index) }
  var availIndex: UInt16 { bytes.uint16(avail + 2) }
  func setHead(_ position: UInt16, _ head: UInt16) { bytes.write(avail + 4 + UInt64(2 * index(position)), head) }
  func head(_ position: UInt16) -> UInt16 { bytes.uint16(avail + 4 + UInt64(2 * index(position))) }
  private var usedEventAddress: UInt64 { avail + UInt64(4 + 2 * size) }

  func setUsedFlags(_ flags: UInt16) { bytes.write(used, flags) }
  func setUsedIndex(_ index: UInt16) { bytes.write(used + 2, index) }
  var usedIndex: UInt16 { bytes.uint16(used + 2) }
  func setUsedEntry(_ position: UInt16, id: UInt32, length: UInt32) {
    let at = used + 4 + UInt64(8 * index(position))
    bytes.write(at, id)
    bytes.write(at + 4, length)
  }
  func usedEntry(_ position: UInt16) -> (id: UInt32, length: UInt32) {
    let at = used + 4 + UInt64(8 * index(position))
    return (bytes.uint32(at), bytes.uint32(at + 4))
  }
  private var availEventAddress: UInt64 { used + UInt64(4 + 8 * size) }

  // MARK: Packed: event suppression

  func setDriverEvent(_ position: UInt16, flags: UInt16) {
    bytes.write(avail, position)
    bytes.write(avail + 2, flags)
  }
  func setDeviceEvent(_ position: UInt16, flags: UInt16) {
    bytes.write(used, position)
    bytes.write(used + 2, flags)
  }

  // MARK: Who wants to hear of whom (virtio 1.2, §2.7.7, §2.7.10, §2.8.10)

  /// A side's wish, as it stands in memory.
  struct Event: Equatable, Sendable {
    var position: UInt16
    var flags: UInt16
  }

  var callEvent: Event {
    get {
      format == .split
        ? Event(position: bytes.uint16(usedEventAddress), flags: bytes.uint16(avail))
        : Event(position: bytes.uint16(avail), flags: bytes.uint16(avail + 2))
    }
    nonmutating set {
      if format == .split {
        setAvailFlags(newValue.flags)
        bytes.write(usedEventAddress, newValue.position)
      } else {
        setDriverEvent(newValue.position, flags: newValue.flags)
      }
    }
  }
  var kickEvent: Event {
    get {
      format == .split
        ? Event(position: bytes.uint16(availEventAddress), flags: bytes.uint16(used))
        : Event(position: bytes.uint16(used), flags: bytes.uint16(used + 2))
    }
    nonmutating set {
      if format == .split {
        setUsedFlags(newValue.flags)
        bytes.write(availEventAddress, newValue.position)
      } else {
        setDeviceEvent(newValue.position, flags: newValue.flags)
      }
    }
  }

  /// Whether a side is to be told that the other one has moved from a position on, step by step.
  func isWanted(_ event: Event, from position: UInt16, steps: Int, hasEventIndex: Bool) -> Bool {
    switch (format, hasEventIndex) {
    case (.split, false): return event.flags & 1 == 0
    case (.packed, _) where event.flags & 3 == 1: return false
    // What the standard reserves, or has not been negotiated, suppresses nothing.
    case (.packed, _) where event.flags & 3 != 2 || !hasEventIndex: return true
    default:
      var position = position
      for _ in 0..<min(steps, positions) {
        if position == event.position { return true }
        position = next(position)
      }
      return false
    }
  }
}
