/// The configuration space of a block device (virtio 1.2, §5.2.4), little-endian on the wire.
///
/// Sizes of the medium and of what is discarded or zeroed are in sectors of 512 bytes, whatever the block size is.
public struct BlockConfiguration: Sendable, Hashable {
  /// The size of the medium in sectors; always there.
  public var capacity: UInt64
  /// The largest segment of a request in bytes; valid with `VIRTIO_BLK_F_SIZE_MAX`.
  public var sizeMax: UInt32 = 0
  /// How many segments a request may have, header and status not counted; valid with `VIRTIO_BLK_F_SEG_MAX`.
  public var segMax: UInt32 = 0
  /// Cylinders of a disk that has some; valid with `VIRTIO_BLK_F_GEOMETRY`.
  public var cylinders: UInt16 = 0
  /// Heads of a disk that has some; valid with `VIRTIO_BLK_F_GEOMETRY`.
  public var heads: UInt8 = 0
  /// Sectors of a track of a disk that has some; valid with `VIRTIO_BLK_F_GEOMETRY`.
  public var sectors: UInt8 = 0
  /// The block size in bytes, which requests are best a multiple of; valid with `VIRTIO_BLK_F_BLK_SIZE`.
  public var blockSize: UInt32 = BlockConfiguration.sectorSize
  /// The binary logarithm of the blocks in a physical block; valid with `VIRTIO_BLK_F_TOPOLOGY`, as are the next three.
  public var physicalBlockExponent: UInt8 = 0
  /// The number of the first block that a physical block begins with.
  public var alignmentOffset: UInt8 = 0
  /// The least size of a request that is worth while, in blocks.
  public var minimumIOSize: UInt16 = 0
  /// The best size of a request, in blocks; 0 when there is none.
  public var optimalIOSize: UInt32 = 0
  /// 1 for a write cache that has to be flushed, 0 for none; valid with `VIRTIO_BLK_F_CONFIG_WCE`.
  public var writeback: UInt8 = 0
  /// How many request queues there are; valid with `VIRTIO_BLK_F_MQ`.
  public var queueCount: UInt16 = 1
  /// How many sectors a segment of a discard request may have; valid with `VIRTIO_BLK_F_DISCARD`, as are the next two.
  public var maxDiscardSectors: UInt32 = 0
  /// How many segments a discard request may have.
  public var maxDiscardSegments: UInt32 = 0
  /// What a segment of a discard request is best aligned to, in sectors.
  public var discardSectorAlignment: UInt32 = 0
  /// How many sectors a segment of a write zeroes request may have; valid with `VIRTIO_BLK_F_WRITE_ZEROES`, as are the
  /// next two.
  public var maxWriteZeroesSectors: UInt32 = 0
  /// How many segments a write zeroes request may have.
  public var maxWriteZeroesSegments: UInt32 = 0
  /// 1 when a write zeroes request may free the space that the sectors took.
  public var writeZeroesMayUnmap: UInt8 = 0

  /// The length of the encoded fields in bytes: up to and with the padding behind `write_zeroes_may_unmap`.
  public static let byteCount = 60
  /// The unit of ``capacity`` and of a request's sector, in bytes.
  public static let sectorSize: UInt32 = 512

  /// A configuration of a medium; everything else is zero but for blocks of one sector and one queue.
  ///
  /// - Parameter capacity: The size of the medium in sectors.
  public init(capacity: UInt64) { self.capacity = capacity }

  /// Reads the fields from the start of a configuration space; those behind its end are zero.
  ///
  /// - Parameter bytes: At least 8 bytes: only the capacity is always there.
  /// - Returns: nil when there are fewer.
  public init?(decoding bytes: [UInt8]) {
    guard bytes.count >= 8 else { return nil }
    func field<Value: FixedWidthInteger>(_ offset: Int) -> Value {
      let end = offset + Value.bitWidth / 8
      guard end <= bytes.count else { return 0 }
      return bytes[offset..<end].reversed().reduce(0) { $0 << 8 | Value(truncatingIfNeeded: $1) }
    }
    capacity = field(0)
    sizeMax = field(8)
    segMax = field(12)
    cylinders = field(16)
    heads = field(18)
    sectors = field(19)
    blockSize = field(20)
    physicalBlockExponent = field(24)
    alignmentOffset = field(25)
    minimumIOSize = field(26)
    optimalIOSize = field(28)
    writeback = field(32)
    queueCount = field(34)
    maxDiscardSectors = field(36)
    maxDiscardSegments = field(40)
    discardSectorAlignment = field(44)
    maxWriteZeroesSectors = field(48)
    maxWriteZeroesSegments = field(52)
    writeZeroesMayUnmap = field(56)
  }

  /// The fields as they stand in the configuration space: ``byteCount`` bytes, padding zero.
  public var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(BlockConfiguration.byteCount)
    func append<Value: FixedWidthInteger>(_ value: Value) {
      for i in 0..<Value.bitWidth / 8 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i))) }
    }
    append(capacity)
    append(sizeMax)
    append(segMax)
    append(cylinders)
    append(heads)
    append(sectors)
    append(blockSize)
    append(physicalBlockExponent)
    append(alignmentOffset)
    append(minimumIOSize)
    append(optimalIOSize)
    append(writeback)
    append(UInt8(0))
    append(queueCount)
    append(maxDiscardSectors)
    append(maxDiscardSegments)
    append(discardSectorAlignment)
    append(maxWriteZeroesSectors)
    append(maxWriteZeroesSegments)
    append(writeZeroesMayUnmap)
    return bytes + [0, 0, 0]
  }
}
