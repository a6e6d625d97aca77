import Testing

@testable import Virtio

/// A format and a size: what most tests of rings are run with.
struct RingCase: CustomTestStringConvertible, Sendable {
  var format: RingLayout.Format
  var size: Int

  /// Every ring of up to eight descriptors.
  static let all =
    [1, 2, 4, 8].map { RingCase(format: .split, size: $0) } + (1...8).map { RingCase(format: .packed, size: $0) }

  /// Every position at which two sides can meet: all indices, in front of and behind the point where positions start
  /// from 0 again (split), with both wrap counters (packed).
  var starts: [UInt16] {
    let indices = (0..<UInt16(size))
    return format == .split
      ? indices.map { $0 } + indices.map { UInt16.max - $0 } : indices.flatMap { [$0, $0 | 0x8000] }
  }

  /// Two of them: in the middle of the ring, and where chains of a test go around everything.
  var fewStarts: [UInt16] {
    format == .split ? [5, size == 8 ? 65533 : 65535] : [UInt16(size / 2) | 0x8000, UInt16(size - 1)]
  }

  var testDescription: String { "\(format) \(size)" }
}

/// How a chain is cut, and where its table is.
struct ChainForm: CustomTestStringConvertible, Sendable {
  /// Where a table stands.
  enum Table: CaseIterable, Sendable {
    /// In a region that has nothing else.
    case otherRegion
    /// At an odd address.
    case unaligned
    /// Over the border of two regions that follow each other for the guest and not for the device.
    case acrossRegions
  }

  var pieces: Int
  /// How many of them stand in the ring; the others in a table.
  var direct: Int
  var table = Table.otherRegion

  var isDirect: Bool { direct == pieces }
  /// How many descriptors of the ring it takes.
  var descriptors: Int { isDirect ? direct : direct + 1 }

  /// Every way to give that many pieces to a ring.
  static func all(pieces: Int, _ ring: RingCase, tables: [Table] = [.otherRegion]) -> [ChainForm] {
    var found = [ChainForm(pieces: pieces, direct: pieces)]
    // A chain of a packed ring is in the ring or in a table.
    for direct in 0..<(ring.format == .split ? pieces : 1) {
      found += tables.map { ChainForm(pieces: pieces, direct: direct, table: $0) }
    }
    return found.filter { $0.descriptors <= ring.size }
  }

  /// The form of the n-th chain of a ring, which has a table of its own.
  func raw(_ chain: Int) -> RawDriver.Form {
    if isDirect { return .direct }
    let offset = UInt64(chain * 16 * 3)
    let address =
      switch table {
      case .otherRegion: SmallMemory.tables + offset
      case .unaligned: SmallMemory.tables + 0x101 + offset
      case .acrossRegions: SmallMemory.border - 8 + offset
      }
    return direct == 0 ? .indirect(table: address) : .mixed(direct: direct, table: address)
  }

  var testDescription: String { "\(pieces) pieces, \(direct) direct, table \(table)" }
}

/// The memory of the exhaustive tests: regions that follow each other, and one that ends at the last address that a
/// region can have.
enum SmallMemory {
  static let places = [
    TestMemory.Place(start: 0x1_0000, size: 4096),
    TestMemory.Place(start: 0x1_1000, size: 3000),
    TestMemory.Place(start: 0x1_1000 + 3000, size: 1000),
    TestMemory.Place(start: 0xffff_ffff_ffff_f000, size: 0xfff),
  ]
  /// Behind the rings.
  static let buffers: UInt64 = 0x1_0800
  /// The border of the first two regions.
  static let bufferBorder: UInt64 = 0x1_1000
  /// That of the next two.
  static let border: UInt64 = 0x1_1000 + 3000
  /// Where tables are that have a region to themselves, but for buffers at its end.
  static let tables: UInt64 = 0xffff_ffff_ffff_f000
}
