internal import Virtio

/// One input: sixteen bytes that say what memory and ring are like, then records.
struct FuzzInput {
  /// Which features were negotiated, and where packets are copied to.
  struct Bits: OptionSet {
    let rawValue: UInt8
    static let mergeable = Bits(rawValue: 1)
    static let legacyHeader = Bits(rawValue: 2)
    static let indirect = Bits(rawValue: 4)
    static let eventIndex = Bits(rawValue: 8)
    static let packed = Bits(rawValue: 16)
    static let inOrder = Bits(rawValue: 32)
    /// Packets are in buffers of a pool.
    static let pool = Bits(rawValue: 64)
    /// A dirty log is kept.
    static let logged = Bits(rawValue: 128)
  }

  static let headerSize = 16
  /// Records behind that many are passed over: the work for an input is bounded.
  static let maxRecords = 256

  /// Byte 0: which of the memories.
  var layout: UInt8 = 0
  /// Byte 1: the ring's size, from a list.
  var size: UInt8 = 0
  /// Byte 2.
  var bits: Bits = []
  /// Byte 3: how often a walker is called while another thread writes.
  var rounds: UInt8 = 0
  /// Bytes 4, 5: the positions from which the ring goes on.
  var position: UInt16 = 0
  /// Bytes 6, 7: how far the used position is behind the available one.
  var lag: UInt16 = 0
  /// Bytes 8–10: where each of the ring's parts is; bytes 12, 13: an offset for those that take one. Byte 8 also says
  /// whether a packed ring's position may be one that it does not have.
  var places: [UInt8] = [0, 0, 0]
  var placeOffset: UInt16 = 0

  var records: [Record] = []

  /// 256 is the most that one byte addresses; the larger ones are there for the arithmetic at the limits. 0 is no size, and
  /// what is no power of two is none of a split ring.
  static let sizes = [8, 1, 2, 4, 16, 32, 64, 128, 256, 4096, 32768, 3, 0, 7, 100, 2]

  init() {}

  /// Takes an input apart. Bytes that are missing are 0.
  init(_ input: Span<UInt8>) {
    func byte(_ i: Int) -> UInt8 { i < input.count ? input[i] : 0 }
    layout = byte(0)
    size = byte(1)
    bits = Bits(rawValue: byte(2))
    rounds = byte(3)
    position = UInt16(byte(4)) | UInt16(byte(5)) << 8
    lag = UInt16(byte(6)) | UInt16(byte(7)) << 8
    places = [byte(8), byte(9), byte(10)]
    placeOffset = UInt16(byte(12)) | UInt16(byte(13)) << 8
    let count = min(max(input.count - FuzzInput.headerSize, 0) / Record.size, FuzzInput.maxRecords)
    records.reserveCapacity(count)
    for i in 0..<count { records.append(Record(input, at: FuzzInput.headerSize + i * Record.size)) }
  }

  var ringSize: Int { FuzzInput.sizes[Int(size) % FuzzInput.sizes.count] }
  var headerLength: Int { bits.contains(.legacyHeader) ? 10 : 12 }

  /// The features of rings that were negotiated.
  var features: Features {
    var features: Features = bits.contains(.legacyHeader) ? [] : .version1
    if bits.contains(.mergeable) { features.insert(.netMergeableBuffers) }
    if bits.contains(.indirect) { features.insert(.indirectDescriptors) }
    if bits.contains(.eventIndex) { features.insert(.eventIndex) }
    if bits.contains(.packed) { features.insert(.packedRing) }
    if bits.contains(.inOrder) { features.insert(.inOrder) }
    return features
  }

  var bytes: [UInt8] {
    [
      layout, size, bits.rawValue, rounds, UInt8(position & 0xff), UInt8(position >> 8), UInt8(lag & 0xff),
      UInt8(lag >> 8), places[0], places[1], places[2], 0, UInt8(placeOffset & 0xff), UInt8(placeOffset >> 8), 0, 0,
    ] + records.flatMap(\.bytes)
  }
}
