internal import Synchronization
internal import SystemPackage
internal import Virtio

/// What all queues of a block device share: its file with what is known of it by now, its name, and what becomes of
/// failures.
final class BlockMedium: Sendable {
  let file: BlockFile
  /// What GET_ID answers: 20 bytes.
  let id: [UInt8]
  let failures = BlockFailures()

  /// Whether a hole was refused, so that it need not be tried again.
  let cannotPunchHoles = Atomic<Bool>(false)
  /// Whether zeroing a range was refused, so that it need not be tried again.
  let cannotZeroRanges = Atomic<Bool>(false)
  /// The error of the first sync that failed, 0 while none has.
  private let syncError = Atomic<CInt>(0)

  /// How many sectors a segment of a discard request may have: 2 GiB.
  static let maxDiscardSectors: UInt32 = 1 << 22
  /// How many sectors a segment of a write zeroes request may have: 256 MiB, which may have to be written.
  static let maxWriteZeroesSectors: UInt32 = 1 << 19
  /// How many segments a discard or write zeroes request may have.
  static let maxSegments = 16
  /// How many segments the data of a request may have: with header and status it fits into a ring of 128.
  static let maxDataSegments: UInt32 = 126

  /// A medium.
  ///
  /// - Parameter id: Its name, of at most 20 bytes.
  init(_ file: BlockFile, id: [UInt8]) {
    self.file = file
    self.id = id + Array(repeating: 0, count: BlockRequest.idLength - id.count)
  }

  /// The error of an earlier sync.
  ///
  /// A sync that fails leaves pages marked as clean that never reached the disk, so that a later one would succeed. What
  /// was lost is lost: the guest must not be told otherwise until the file is opened anew.
  var earlierSyncError: Errno? {
    let error = syncError.load(ordering: .relaxed)
    return error == 0 ? nil : Errno(rawValue: error)
  }

  /// Takes note of a sync that failed.
  func syncFailed(_ error: Errno) {
    _ = syncError.compareExchange(expected: 0, desired: error.rawValue, ordering: .relaxed)
  }

  /// The features of a device on this medium, without those of rings and transport.
  func features(queues: Int) -> Features {
    var features: Features = [.blockSegMax, .blockSize, .blockFlush, .blockTopology]
    if queues > 1 { features.insert(.blockMultiqueue) }
    if file.isReadOnly {
      features.insert(.blockReadOnly)
    } else {
      features.insert(.blockWriteZeroes)
      if file.canDiscard { features.insert(.blockDiscard) }
    }
    return features
  }

  /// The configuration space of a device on this medium.
  func configuration(queues: Int) -> BlockConfiguration {
    var space = BlockConfiguration(capacity: file.sectors)
    space.segMax = BlockMedium.maxDataSegments
    space.blockSize = file.logicalBlock
    space.physicalBlockExponent = UInt8(
      truncatingIfNeeded: (file.physicalBlock / file.logicalBlock).trailingZeroBitCount)
    space.minimumIOSize = UInt16(clamping: file.minimumIO / file.logicalBlock)
    space.optimalIOSize = file.optimalIO / file.logicalBlock
    // There is a cache, the host's, and no way to switch it off but to not negotiate FLUSH.
    space.writeback = 1
    space.queueCount = UInt16(clamping: queues)
    guard !file.isReadOnly else { return space }
    space.maxWriteZeroesSectors = BlockMedium.maxWriteZeroesSectors
    space.maxWriteZeroesSegments = UInt32(BlockMedium.maxSegments)
    guard file.canDiscard else { return space }
    space.writeZeroesMayUnmap = 1
    space.maxDiscardSectors = BlockMedium.maxDiscardSectors
    space.maxDiscardSegments = UInt32(BlockMedium.maxSegments)
    space.discardSectorAlignment = file.physicalBlock / BlockConfiguration.sectorSize
    return space
  }
}
