@testable internal import Virtio

/// What has to come of walking a chain, read straight from virtio 1.2, §2.7.5 and §2.8.6 to §2.8.8.
struct ChainModel {
  /// How many descriptors of the ring it takes.
  private(set) var descriptors = 0
  /// How many bytes the device may read.
  private(set) var readable = 0
  /// How many bytes the device may write.
  private(set) var writable = 0
  private var hasWritable = false

  private let ring: RingPlacement
  private let memory: FuzzMemory
  /// Whether the ring only ever has buffers to be read, which is what a packed ring's tables of a sent packet then mean,
  /// whatever they say (as in `ChainWalk`).
  private let isRead: Bool

  /// The chain at a position; nil when there is none, or it is not as it has to be.
  init?(_ ring: RingPlacement, _ memory: FuzzMemory, at position: UInt16, isRead: Bool, hasIndirect: Bool) {
    self.ring = ring
    self.memory = memory
    self.isRead = isRead
    guard let head = ChainModel.head(ring, memory, position), walk(from: head, hasIndirect: hasIndirect) else {
      return nil
    }
  }

  /// The descriptor that the chain at a position begins with; nil when there is none, or more than there can be.
  private static func head(_ ring: RingPlacement, _ memory: FuzzMemory, _ position: UInt16) -> Int? {
    switch ring.format {
    case .split:
      let announced = memory.load(ring.availIndex, as: UInt16.self) &- position
      guard announced > 0, Int(announced) <= ring.size else { return nil }
      return Int(memory.load(ring.availHead(position), as: UInt16.self))
    case .packed:
      let flags: UInt16 = memory.load(ring.descriptor(ring.index(position)) &+ ring.flagsOffset)
      return flags & 0x8080 == RingPlacement.availFlags(position) ? ring.index(position) : nil
    }
  }

  private struct Descriptor {
    let address: UInt64
    let length: UInt32
    let flags: UInt16
    let link: UInt16
  }

  /// A descriptor; nil when it is not in memory.
  private func descriptor(at place: UInt64) -> Descriptor? {
    guard memory.covers(place, length: 16, for: .read) else { return nil }
    return Descriptor(
      address: memory.load(place), length: memory.load(place &+ 8), flags: memory.load(place &+ ring.flagsOffset),
      link: memory.load(place &+ (ring.format == .split ? 14 : 12)))
  }

  /// False when something is wrong with the chain.
  private mutating func walk(from head: Int, hasIndirect: Bool) -> Bool {
    var index = head
    while true {
      guard index < ring.size, descriptors < ring.size, let next = descriptor(at: ring.descriptor(index)) else {
        return false
      }
      descriptors += 1
      if next.flags & RingDescriptor.indirect != 0 {
        guard hasIndirect, next.flags & RingDescriptor.next == 0, next.length > 0, next.length % 16 == 0 else {
          return false
        }
        return walkTable(next.address, count: Int(next.length / 16))
      }
      guard add(next, isWritable: next.flags & RingDescriptor.write != 0) else { return false }
      guard next.flags & RingDescriptor.next != 0 else { return true }
      index = ring.format == .split ? Int(next.link) : (index + 1) % ring.size
    }
  }

  private mutating func walkTable(_ table: UInt64, count: Int) -> Bool {
    var index = 0
    var visits = 0
    while true {
      visits += 1
      // As long as the field makes them; longer ones the device refuses.
      guard index < count, visits <= count, visits <= max(ring.size, ChainWalk.maxIndirect),
        let next = descriptor(at: table &+ UInt64(index * 16)), next.flags & RingDescriptor.indirect == 0,
        add(next, isWritable: next.flags & RingDescriptor.write != 0 && !(isRead && ring.format == .packed))
      else { return false }
      switch ring.format {
      case .split:
        guard next.flags & RingDescriptor.next != 0 else { return true }
        index = Int(next.link)
      case .packed:
        index += 1
        guard index < count else { return true }
      }
    }
  }

  /// False when a buffer is not in memory, or out of order.
  private mutating func add(_ descriptor: Descriptor, isWritable: Bool) -> Bool {
    hasWritable = hasWritable || isWritable
    guard isWritable || !hasWritable,
      memory.covers(descriptor.address, length: UInt64(descriptor.length), for: isWritable ? .write : .read)
    else { return false }
    if isWritable { writable += Int(descriptor.length) } else { readable += Int(descriptor.length) }
    return true
  }
}
