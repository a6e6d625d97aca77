/// A range of sectors in a discard or write zeroes request (virtio 1.2, §5.2.6): 16 bytes.
public struct BlockSegment: Sendable, Hashable {
  /// What may be done with a segment.
  public struct Flags: OptionSet, Sendable, Hashable {
    /// The bits of the field.
    public let rawValue: UInt32
    /// The flags with those bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// `unmap` (bit 0), of write zeroes requests only: the space may be freed, as long as zeroes are read.
    public static let unmap = Flags(rawValue: 1)
  }

  /// The first sector of 512 bytes.
  public var sector: UInt64
  /// How many sectors there are.
  public var count: UInt32
  /// What may be done with them.
  public var flags: Flags

  /// The length of a segment in bytes.
  public static let byteCount = 16

  /// A segment.
  public init(sector: UInt64, count: UInt32, flags: Flags = []) {
    self.sector = sector
    self.count = count
    self.flags = flags
  }

  /// Reads a segment from `bytes`.
  ///
  /// - Parameter offset: Where it begins.
  /// - Returns: nil when it does not end within `bytes`.
  public init?(decoding bytes: [UInt8], at offset: Int = 0) {
    guard let words = BlockRequest.Words(bytes, at: offset) else { return nil }
    sector = words.first
    count = UInt32(truncatingIfNeeded: words.second)
    flags = Flags(rawValue: UInt32(truncatingIfNeeded: words.second >> 32))
  }

  /// The segment as it stands in memory: ``byteCount`` bytes.
  public var encoded: [UInt8] {
    BlockRequest.Words(first: sector, second: UInt64(count) | UInt64(flags.rawValue) << 32).bytes
  }
}
