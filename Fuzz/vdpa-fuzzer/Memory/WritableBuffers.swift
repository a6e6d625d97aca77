internal import Virtio

/// The memory that the descriptors of a ring name as writable for the device, read straight from virtio 1.2, §2.7 and §2.8:
/// all that a device may write to besides its part of the ring.
struct WritableBuffers {
  private typealias Piece = (address: UInt64, length: UInt64)
  private var buffers: [Piece] = []

  /// The most descriptors of indirect tables that are looked at.
  private static let maxIndirect = 4096

  /// nil when there is no telling: what the device writes lies over descriptors, or there are too many of them.
  init?(_ ring: RingPlacement, _ memory: FuzzMemory) {
    var budget = WritableBuffers.maxIndirect
    var tables: [Piece] = []
    for i in 0..<ring.size {
      let place = ring.descriptor(i)
      add(place, ring, memory)
      let flags: UInt16 = memory.load(place &+ ring.flagsOffset)
      guard flags & RingDescriptor.indirect != 0 else { continue }
      let bytes: UInt32 = memory.load(place &+ 8)
      let table = Piece(memory.load(place), UInt64(bytes))
      tables.append(table)
      budget -= Int(bytes) / 16
      guard budget >= 0 else { return nil }
      for j in 0..<Int(bytes) / 16 { add(table.address &+ UInt64(j * 16), ring, memory) }
    }
    let areas = (0..<3).map { Piece(ring.parts[$0], UInt64(ring.lengths[$0])) }
    let read = tables + areas[0..<2]
    for piece in buffers + [areas[2]] where read.contains(where: { WritableBuffers.overlap($0, piece) }) { return nil }
    // The descriptors of a packed ring are the device's to write, too.
    if ring.format == .packed, tables.contains(where: { WritableBuffers.overlap($0, areas[0]) }) { return nil }
  }

  private mutating func add(_ place: UInt64, _ ring: RingPlacement, _ memory: FuzzMemory) {
    let flags: UInt16 = memory.load(place &+ ring.flagsOffset)
    guard flags & RingDescriptor.write != 0 else { return }
    let length: UInt32 = memory.load(place &+ 8)
    if length > 0 { buffers.append((memory.load(place), UInt64(length))) }
  }

  private static func overlap(_ one: Piece, _ other: Piece) -> Bool {
    one.length > 0 && other.length > 0
      && (one.address &- other.address < other.length || other.address &- one.address < one.length)
  }

  /// Takes over whatever these buffers hold now.
  func allow(in memory: FuzzMemory) {
    for buffer in buffers { memory.allow(buffer.address, buffer.length) }
  }
}
