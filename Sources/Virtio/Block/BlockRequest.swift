/// The header of a request to a block device (virtio 1.2, §5.2.6): 16 bytes, the first that the device reads.
public struct BlockRequest: Sendable, Hashable, CustomStringConvertible {
  /// What a request asks for. A driver can write any number.
  public struct Kind: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    /// The number on the wire.
    public let rawValue: UInt32
    /// The kind with that number.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// `VIRTIO_BLK_T_IN` (0): read sectors.
    public static let read = Kind(rawValue: 0)
    /// `VIRTIO_BLK_T_OUT` (1): write sectors.
    public static let write = Kind(rawValue: 1)
    /// `VIRTIO_BLK_T_FLUSH` (4): commit what was written to stable storage.
    public static let flush = Kind(rawValue: 4)
    /// `VIRTIO_BLK_T_GET_ID` (8): read the device's name.
    public static let getID = Kind(rawValue: 8)
    /// `VIRTIO_BLK_T_GET_LIFETIME` (10): read how worn the medium is.
    public static let getLifetime = Kind(rawValue: 10)
    /// `VIRTIO_BLK_T_DISCARD` (11): sectors are no longer needed.
    public static let discard = Kind(rawValue: 11)
    /// `VIRTIO_BLK_T_WRITE_ZEROES` (13): make sectors zero.
    public static let writeZeroes = Kind(rawValue: 13)
    /// `VIRTIO_BLK_T_SECURE_ERASE` (14): make the content of sectors irrecoverable.
    public static let secureErase = Kind(rawValue: 14)

    /// The standard's name without its prefix, `request type n` for a number that has none.
    public var description: String {
      switch self {
      case .read: "IN"
      case .write: "OUT"
      case .flush: "FLUSH"
      case .getID: "GET_ID"
      case .getLifetime: "GET_LIFETIME"
      case .discard: "DISCARD"
      case .writeZeroes: "WRITE_ZEROES"
      case .secureErase: "SECURE_ERASE"
      default: "request type \(rawValue)"
      }
    }
  }

  /// What is asked for.
  public var kind: Kind
  /// The first sector of 512 bytes; means something for reads and writes only.
  public var sector: UInt64

  /// The header's length in bytes.
  public static let headerLength = 16
  /// The length of the device's name in bytes, which ends with zeroes if it is shorter.
  public static let idLength = 20

  /// A header.
  public init(_ kind: Kind, sector: UInt64 = 0) {
    self.kind = kind
    self.sector = sector
  }

  /// Reads a header from the start of `bytes`. The reserved field means nothing.
  ///
  /// - Returns: nil when there are fewer than ``headerLength`` bytes.
  public init?(decoding bytes: [UInt8]) {
    guard let words = Words(bytes) else { return nil }
    self.init(first: words.first, second: words.second)
  }

  /// Reads a header that is two little-endian numbers: kind and priority, and the sector.
  package init(first: UInt64, second: UInt64) {
    kind = Kind(rawValue: UInt32(truncatingIfNeeded: first))
    sector = second
  }

  /// The header as it stands in memory: ``headerLength`` bytes.
  public var encoded: [UInt8] { Words(first: UInt64(kind.rawValue), second: sector).bytes }

  /// `IN of sector 8`.
  public var description: String { "\(kind) of sector \(sector)" }
}
