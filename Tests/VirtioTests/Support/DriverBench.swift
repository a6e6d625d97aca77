@testable import Virtio

/// A driver under test on a small ring, with tables for its chains, and the same ring byte by byte.
struct DriverBench {
  static let features: [Features] = [[], [.eventIndex], [.inOrder], [.inOrder, .eventIndex]]
  static let tableLength = 3

  let memory: TestMemory
  let ring: RingCase
  let raw: RawRing
  var driver: DriverRing

  init(_ memory: TestMemory, _ ring: RingCase, start: UInt16, _ features: Features) throws {
    self.memory = memory
    self.ring = ring
    raw = RawRing(memory.bytes, ring.format, size: ring.size, start: start)
    let tables = try IndirectTables(
      count: ring.size, length: Self.tableLength, at: SmallMemory.tables, memory: memory.view)
    driver = DriverRing(try raw.area(memory.view), features: features, tables: tables, startingAt: start)
  }

  /// Pieces of a chain of which the first `readable` are read by the device. No two chains' are the same.
  static func pieces(_ count: Int, readable: Int, seed: Int) -> [DriverRing.Piece] {
    (0..<count).map { i in
      DriverRing.Piece(
        address: SmallMemory.buffers + UInt64(seed % 8 * 64 + i * 16), length: UInt32(1 + (seed + i) % 15),
        isWritable: i >= readable)
    }
  }

  static func raw(_ pieces: [DriverRing.Piece]) -> [RawPiece] {
    pieces.map { RawPiece(address: $0.address, length: $0.length, isWritable: $0.isWritable) }
  }

  /// Makes a copy of memory agree with what a driver may write, its tables included: the rest can then be compared.
  func acceptDriverWrites(_ image: GuestBytes) {
    image.accept(memory.bytes, raw.descriptors, 16 * raw.size)
    image.accept(memory.bytes, raw.avail, raw.format == .split ? 6 + 2 * raw.size : 4)
    image.accept(memory.bytes, SmallMemory.tables, IndirectTables.bytes(count: raw.size, length: Self.tableLength))
  }
}
