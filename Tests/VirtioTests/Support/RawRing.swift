@testable import Virtio

/// The driver's side of a split ring written straight from virtio 1.2, §2.7, byte by byte: what the code under test is
/// held against, so it shares nothing with it but the addresses. It can write what no correct driver writes.
struct RawRing: Sendable {
  struct Piece: Sendable {
    var address: UInt64
    var length: UInt32
    var isWritable = false
  }

  let memory: TestMemory
  let size: Int
  let start: UInt16
  let descriptors: UInt64
  let avail: UInt64
  let used: UInt64
  private(set) var added: UInt16
  private var nextDescriptor: Int

  /// A ring at `address`; the parts follow each other, aligned. The descriptors are handed out from `rotation` on,
  /// downwards, so that heads and `next` fields differ from positions.
  init(_ memory: TestMemory, at address: UInt64, size: Int, start: UInt16 = 0, rotation: Int = 0) {
    self.memory = memory
    self.size = size
    self.start = start
    descriptors = address
    avail = address + UInt64(16 * size)
    used = (avail + UInt64(6 + 2 * size) + 3) & ~3
    added = start
    nextDescriptor = rotation
    memory.write(avail, UInt16(0))
    memory.write(avail + 2, start)
    memory.write(used, UInt16(0))
    memory.write(used + 2, start)
  }

  var end: UInt64 { used + UInt64(6 + 8 * size) }

  func area(_ view: MemoryView? = nil) throws -> RingMemory {
    try RingMemory(
      RingLayout(.split, size: size), descriptor: descriptors, avail: avail, used: used, memory: view ?? memory.view)
  }

  func device() throws -> DeviceRing {
    DeviceRing(try area(), features: [], nextAvail: start, nextUsed: start)
  }

  func setDescriptor(_ index: Int, address: UInt64, length: UInt32, flags: UInt16, next: UInt16) {
    let at = descriptors + UInt64(index * 16)
    memory.write(at, address)
    memory.write(at + 8, length)
    memory.write(at + 12, flags)
    memory.write(at + 14, next)
  }

  func setHead(_ position: UInt16, _ head: UInt16) {
    memory.write(avail + 4 + UInt64(Int(position) % size * 2), head)
  }

  func setAvailIndex(_ index: UInt16) { memory.write(avail + 2, index) }

  /// Adds a chain, puts it into the available ring and announces it.
  ///
  /// - Returns: Its head.
  @discardableResult mutating func add(_ pieces: [Piece]) -> UInt16 {
    let indices = pieces.indices.map { ((nextDescriptor - $0) % size + size) % size }
    for (i, piece) in pieces.enumerated() {
      let isLast = i == pieces.count - 1
      setDescriptor(
        indices[i], address: piece.address, length: piece.length, flags: (isLast ? 0 : 1) | (piece.isWritable ? 2 : 0),
        next: isLast ? 0xffff : UInt16(indices[i + 1]))
    }
    nextDescriptor -= pieces.count
    setHead(added, UInt16(indices[0]))
    added &+= 1
    setAvailIndex(added)
    return UInt16(indices[0])
  }

  var usedIndex: UInt16 { memory.value(used + 2) }

  /// The addresses in the file of the used entries of some positions.
  func usedEntries(from position: UInt16, count: Int) -> [Range<Int>] {
    (0..<count).compactMap { i in
      memory.offset(used + 4 + UInt64(Int(position &+ UInt16(i)) % size * 8)).map { $0..<$0 + 8 }
    }
  }
}

/// A plain model of the specification for one ring: what memory looks like after the device's steps. It works on an
/// image of the whole file and knows the chains from the test, not from the ring.
struct RingModel {
  let ring: RawRing
  var image: [UInt8]
  var usedPosition: UInt16
  var chains: [(head: UInt16, pieces: [RawRing.Piece])]

  init(_ ring: RawRing, chains: [(head: UInt16, pieces: [RawRing.Piece])]) {
    self.ring = ring
    image = ring.memory.snapshot()
    usedPosition = ring.start
    self.chains = chains
  }

  private mutating func store(_ address: UInt64, _ bytes: [UInt8]) {
    var from = 0
    for part in ring.memory.parts(address, bytes.count) {
      image.replaceSubrange(part, with: bytes[from..<from + part.count])
      from += part.count
    }
  }

  /// The device returns its oldest chain.
  mutating func use(length: Int) {
    let head = chains.removeFirst().head
    let at = ring.used + 4 + UInt64(Int(usedPosition) % ring.size * 8)
    store(at, bytes(UInt32(head)) + bytes(UInt32(length)))
    usedPosition &+= 1
    store(ring.used + 2, bytes(usedPosition))
  }

  /// What the device reads from a chain.
  func packet(_ chain: Int) -> [UInt8] {
    chains[chain].pieces.filter { !$0.isWritable }.flatMap { piece in
      ring.memory.parts(piece.address, Int(piece.length)).flatMap { image[$0] }
    }
  }

  /// The device sends a packet (virtio 1.2, §5.1.6.4): to the oldest chain, to as many as it takes if they may be merged.
  ///
  /// - Returns: What becomes of it; `pending` when it has to wait for more buffers.
  mutating func send(_ payload: [UInt8], headerLength: Int, mergeable: Bool) -> PacketBurst.Outcome {
    func capacity(_ pieces: [RawRing.Piece]) -> Int { pieces.reduce(0) { $0 + Int($1.length) } }
    let total = headerLength + payload.count
    guard let first = chains.first else { return .pending }
    if !mergeable && capacity(first.pieces) < total { return .undeliverable }
    var buffers = 0
    var room = 0
    while room < total {
      guard buffers < chains.count else {
        return chains.reduce(0, { $0 + $1.pieces.count }) == ring.size ? .undeliverable : .pending
      }
      room += capacity(chains[buffers].pieces)
      buffers += 1
    }
    var packet = [UInt8](repeating: 0, count: 10) + (headerLength == 12 ? bytes(UInt16(buffers)) : []) + payload
    for _ in 0..<buffers {
      var length = 0
      for piece in chains[0].pieces {
        let count = min(Int(piece.length), packet.count)
        store(piece.address, Array(packet.prefix(count)))
        packet.removeFirst(count)
        length += count
      }
      use(length: length)
    }
    return .delivered
  }
}

/// The little-endian bytes of a number.
func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
  (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
}
