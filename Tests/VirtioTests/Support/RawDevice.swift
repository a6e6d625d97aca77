@testable import Virtio

/// The device's side of a ring, written byte by byte from virtio 1.2, §2.7.14 and §2.8.22. On a copy of memory it is
/// the model that a device under test is compared with; on memory itself, the peer of a driver under test.
struct RawDevice: Sendable {
  let ring: RawRing
  /// The position of the next chain to be fetched.
  private(set) var nextAvail: UInt16
  /// The position of the next one to be returned.
  private(set) var nextUsed: UInt16

  /// A device that has returned everything that it fetched, and goes on at a position.
  init(_ ring: RawRing, at position: UInt16? = nil) {
    self.ring = ring
    nextAvail = position ?? ring.start
    nextUsed = position ?? ring.start
  }

  /// The next chain that the driver has announced, nil when there is none. It must be in order.
  mutating func fetch() -> RawChain? {
    var index: Int
    switch ring.format {
    case .split:
      guard ring.availIndex != nextAvail else { return nil }
      index = Int(ring.head(nextAvail))
    case .packed:
      guard ring.flags(ring.index(nextAvail)) & RawRing.bits == ring.availBits(nextAvail) else { return nil }
      index = ring.index(nextAvail)
    }
    var chain = RawChain(id: UInt16(index), descriptors: 0, pieces: [])
    while true {
      let descriptor = ring.descriptor(index)
      chain.descriptors += 1
      if ring.format == .packed { chain.id = descriptor.link }
      if descriptor.flags & RawDescriptor.indirect != 0 {
        chain.pieces += table(descriptor)
      } else {
        chain.pieces.append(piece(descriptor))
      }
      guard descriptor.flags & RawDescriptor.next != 0 else { break }
      index = ring.format == .split ? Int(descriptor.link) : (index + 1) % ring.size
    }
    nextAvail = ring.next(nextAvail, by: ring.steps(chain))
    return chain
  }

  private func piece(_ descriptor: RawDescriptor) -> RawPiece {
    RawPiece(
      address: descriptor.address, length: descriptor.length, isWritable: descriptor.flags & RawDescriptor.write != 0)
  }

  private func table(_ descriptor: RawDescriptor) -> [RawPiece] {
    func entry(_ index: Int) -> RawDescriptor { ring.descriptor(at: descriptor.address + UInt64(16 * index)) }
    if ring.format == .packed { return (0..<Int(descriptor.length) / 16).map { piece(entry($0)) } }
    var pieces: [RawPiece] = []
    var index = 0
    while true {
      pieces.append(piece(entry(index)))
      guard entry(index).flags & RawDescriptor.next != 0 else { return pieces }
      index = Int(entry(index).link)
    }
  }

  /// Says that a chain was used, and announces it.
  ///
  /// - Parameter steps: How far that moves the device: the chain's own, or that of a batch that it stands for.
  mutating func use(id: UInt16, length: UInt32, steps: Int) {
    switch ring.format {
    case .split:
      ring.setUsedEntry(nextUsed, id: UInt32(id), length: length)
      nextUsed = ring.next(nextUsed, by: steps)
      ring.setUsedIndex(nextUsed)
    case .packed:
      let index = ring.index(nextUsed)
      var descriptor = ring.descriptor(index)
      // The address stays as it is.
      descriptor.length = length
      descriptor.link = id
      descriptor.flags = ring.usedBits(nextUsed) | (length > 0 ? RawDescriptor.write : 0)
      ring.setDescriptor(index, descriptor)
      nextUsed = ring.next(nextUsed, by: steps)
    }
  }

  mutating func use(_ chain: RawChain, length: UInt32) {
    use(id: chain.id, length: length, steps: ring.steps(chain))
  }

  /// Asks for kicks or to do without, as this device does it: for everything to come, or for nothing.
  func setWantsKicks(_ wanted: Bool, hasEventIndex: Bool) {
    switch (ring.format, hasEventIndex) {
    case (.packed, _): ring.setDeviceEvent(0, flags: wanted ? 0 : 1)
    case (.split, false): ring.setUsedFlags(wanted ? 0 : 1)
    case (.split, true): if wanted { ring.kickEvent = .init(position: ring.availIndex, flags: ring.kickEvent.flags) }
    }
  }
}
