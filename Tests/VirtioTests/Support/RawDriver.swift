@testable import Virtio

/// The driver's side of a ring, written byte by byte from virtio 1.2, §2.7.13 and §2.8.21.
struct RawDriver: Sendable {
  /// How a chain's pieces are put into descriptors.
  enum Form: Equatable, Sendable {
    /// All in the ring.
    case direct
    /// All in a table, which stands at that address.
    case indirect(table: UInt64)
    /// The first ones in the ring, the others in a table (split only: virtio 1.2, §2.7.5.3.2 and §2.8.19).
    case mixed(direct: Int, table: UInt64)

    /// How many descriptors of the ring a chain takes.
    func descriptors(_ pieces: Int) -> Int {
      switch self {
      case .direct: pieces
      case .indirect: 1
      case .mixed(let direct, _): direct + 1
      }
    }
  }

  let ring: RawRing
  /// The position of the next chain to be made available.
  private(set) var nextAvail: UInt16
  /// The position of the next one to be taken back.
  private(set) var nextUsed: UInt16
  /// Chains that the device has, by id.
  private(set) var outstanding: [UInt16: RawChain] = [:]
  private var nextDescriptor: Int
  private var nextID: UInt16

  /// The descriptors of a split ring are handed out from `rotation` on, downwards, so that heads and `next` fields
  /// differ from positions; they must come back in order. The ids of a packed ring are far from its indices.
  init(_ ring: RawRing, rotation: Int = 0) {
    self.ring = ring
    nextAvail = ring.start
    nextUsed = ring.start
    nextDescriptor = rotation
    nextID = 0xfffe - UInt16(rotation)
  }

  /// Adds a chain and announces it.
  @discardableResult mutating func add(_ pieces: [RawPiece], _ form: Form = .direct) -> RawChain {
    let count = form.descriptors(pieces.count)
    // What is in the ring itself, and what in a table.
    var descriptors = pieces.prefix(form == .direct ? count : count - 1).map { piece in
      RawDescriptor(address: piece.address, length: piece.length, flags: piece.isWritable ? RawDescriptor.write : 0)
    }
    switch form {
    case .direct: break
    case .indirect(let table), .mixed(_, let table):
      let entries = pieces.dropFirst(count - 1)
      writeTable(Array(entries), at: table)
      // The write flag of a descriptor that refers to a table is to be ignored.
      descriptors.append(
        RawDescriptor(
          address: table, length: UInt32(entries.count * 16), flags: RawDescriptor.indirect | RawDescriptor.write))
    }
    let chain =
      ring.format == .split ? addSplit(descriptors, pieces) : addPacked(descriptors, pieces)
    outstanding[chain.id] = chain
    return chain
  }

  private mutating func addSplit(_ descriptors: [RawDescriptor], _ pieces: [RawPiece]) -> RawChain {
    let size = ring.size
    let indices = descriptors.indices.map { ((nextDescriptor - $0) % size + size) % size }
    for (i, descriptor) in descriptors.enumerated() {
      let isLast = i == descriptors.count - 1
      var descriptor = descriptor
      // The link of the last one is nobody's business.
      descriptor.link = isLast ? 0xffff : UInt16(indices[i + 1])
      if !isLast { descriptor.flags |= RawDescriptor.next }
      ring.setDescriptor(indices[i], descriptor)
    }
    nextDescriptor -= descriptors.count
    ring.setHead(nextAvail, UInt16(indices[0]))
    nextAvail &+= 1
    ring.setAvailIndex(nextAvail)
    return RawChain(id: UInt16(indices[0]), descriptors: descriptors.count, pieces: pieces)
  }

  private mutating func addPacked(_ descriptors: [RawDescriptor], _ pieces: [RawPiece]) -> RawChain {
    let id = nextID
    nextID &-= 1
    var positions: [UInt16] = []
    for _ in descriptors {
      positions.append(nextAvail)
      nextAvail = ring.next(nextAvail)
    }
    // The first one last: it makes the chain available.
    for (i, position) in positions.enumerated().reversed() {
      let isLast = i == descriptors.count - 1
      var descriptor = descriptors[i]
      // The id stands in the last one; what stands in the others is nobody's business.
      descriptor.link = isLast ? id : ~id
      descriptor.flags |= ring.availBits(position) | (isLast ? 0 : RawDescriptor.next)
      ring.setDescriptor(ring.index(position), descriptor)
    }
    return RawChain(id: id, descriptors: descriptors.count, pieces: pieces)
  }

  /// In a split ring's table, the entries behind the first stand in reverse; in a packed one's they follow each other,
  /// and all but their write flag is reserved and filled with something.
  private func writeTable(_ pieces: [RawPiece], at table: UInt64) {
    for (i, piece) in pieces.enumerated() {
      let isLast = i == pieces.count - 1
      var entry = RawDescriptor(
        address: piece.address, length: piece.length, flags: piece.isWritable ? RawDescriptor.write : 0)
      var place = i
      if ring.format == .split {
        if i > 0 { place = pieces.count - i }
        entry.link = isLast ? 0xffff : UInt16(pieces.count - i - 1)
        if !isLast { entry.flags |= RawDescriptor.next }
      } else {
        entry.link = 0x5555
        entry.flags |= [RawDescriptor.next, RawDescriptor.avail, RawDescriptor.used][i % 3]
      }
      ring.write(entry, at: table + UInt64(16 * place))
    }
  }

  /// Takes back the next chain that the device says it has used, nil when there is none or it is unknown.
  mutating func collect() -> (chain: RawChain, length: UInt32, isWritten: Bool)? {
    let id: UInt16
    let length: UInt32
    var isWritten: Bool
    switch ring.format {
    case .split:
      guard ring.usedIndex != nextUsed else { return nil }
      let entry = ring.usedEntry(nextUsed)
      guard let narrow = UInt16(exactly: entry.id) else { return nil }
      (id, length, isWritten) = (narrow, entry.length, entry.length > 0)
    case .packed:
      let descriptor = ring.descriptor(ring.index(nextUsed))
      guard descriptor.flags & RawRing.bits == ring.usedBits(nextUsed) else { return nil }
      isWritten = descriptor.flags & RawDescriptor.write != 0
      (id, length) = (descriptor.link, descriptor.length)
    }
    guard let chain = outstanding.removeValue(forKey: id) else { return nil }
    nextUsed = ring.next(nextUsed, by: ring.steps(chain))
    return (chain, length, isWritten)
  }
}
