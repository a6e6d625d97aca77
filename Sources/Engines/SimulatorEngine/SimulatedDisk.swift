internal import CLinux
internal import SystemPackage
internal import VDPA
internal import Virtio

/// The medium of a simulated block device: a file, or memory of its own, which is a file too.
///
/// A file is not locked: it stands for storage that others reach on another way, software that takes over from a device that
/// has failed.
final class SimulatedDisk: Sendable {
  /// How many segments the data of a request may have, how many sectors and segments may be discarded or zeroed at a time:
  /// what software says, so that it is the same device to a guest.
  static let maxDataSegments: UInt32 = 126
  static let maxDiscardSectors: UInt32 = 1 << 22
  static let maxWriteZeroesSectors: UInt32 = 1 << 19
  static let maxSegments = 16

  /// The name that GET_ID answers: 20 bytes.
  let id: [UInt8]
  let isReadOnly: Bool
  private let file: OwnedFD
  private let medium: clinux_medium
  /// Whether space can be given back.
  private let canDiscard: Bool

  /// Opens the file of the settings, or makes one of memory.
  ///
  /// - Throws: ``SimulatorError`` `badFile` or `noResources`.
  init(_ settings: SimulatorSettings, device: Int) throws(SimulatorError) {
    let path = settings.file ?? "its memory"
    func fail(_ why: String, _ error: Errno? = nil) -> SimulatorError {
      SimulatorError(.badFile, "the disk of simulated device \(device), \(path), \(why)", underlying: error)
    }
    do {
      file =
        if let path = settings.file {
          OwnedFD(
            adopting: try .open(
              FilePath(path), settings.isReadOnly ? .readOnly : .readWrite, options: [.closeOnExec]))
        } else {
          try MemoryFile.make("simulated disk \(device)", size: settings.capacity << 20)
        }
    } catch {
      throw fail("cannot be opened", error as? Errno)
    }
    var medium = clinux_medium()
    let error = unsafe clinux_examine_medium(file.rawValue, &medium)
    guard error == 0 else { throw fail("cannot be examined", Errno(rawValue: -error)) }
    guard medium.is_regular || medium.is_block_device else {
      throw fail("is neither a regular file nor a block device")
    }
    guard medium.size > 0, medium.size % UInt64(BlockConfiguration.sectorSize) == 0 else {
      throw fail("has \(medium.size) bytes; it needs whole sectors of \(BlockConfiguration.sectorSize), one at least")
    }
    medium.logical_block = SimulatedDisk.block(medium.logical_block, atLeast: BlockConfiguration.sectorSize)
    medium.physical_block = SimulatedDisk.block(medium.physical_block, atLeast: medium.logical_block)
    self.medium = medium
    isReadOnly = settings.isReadOnly
    // A hole behind the end changes nothing, but tells whether there can be any.
    let end = (medium.size / UInt64(medium.physical_block) + 1) * UInt64(medium.physical_block)
    canDiscard =
      !isReadOnly
      && (medium.is_block_device
        || clinux_allocate(file.rawValue, CLINUX_PUNCH_HOLE, end, UInt64(medium.physical_block)) == 0)
    let name = Array((settings.serial ?? "simulated-\(device)").utf8)
    id = name + Array(repeating: 0, count: BlockRequest.idLength - name.count)
  }

  /// A power of two that devices can have; others, which some file systems have, mean nothing to a guest.
  private static func block(_ size: UInt32, atLeast least: UInt32) -> UInt32 {
    size >= least && size <= 1 << 20 && size & (size - 1) == 0 ? size : least
  }

  /// The size in sectors of 512 bytes.
  var sectors: UInt64 { medium.size / UInt64(BlockConfiguration.sectorSize) }

  // MARK: What it is to a guest

  /// The features of a device with this disk, without those of rings and transport.
  func features(queues: Int) -> Features {
    var features: Features = [.blockSegMax, .blockSize, .blockFlush, .blockTopology]
    if queues > 1 { features.insert(.blockMultiqueue) }
    if isReadOnly { return features.union(.blockReadOnly) }
    return features.union(canDiscard ? [.blockWriteZeroes, .blockDiscard] : .blockWriteZeroes)
  }

  /// The configuration space of a device with this disk.
  func configuration(queues: Int) -> BlockConfiguration {
    var space = BlockConfiguration(capacity: sectors)
    space.segMax = SimulatedDisk.maxDataSegments
    space.blockSize = medium.logical_block
    space.physicalBlockExponent = UInt8((medium.physical_block / medium.logical_block).trailingZeroBitCount)
    space.minimumIOSize = UInt16(clamping: medium.minimum_io / medium.logical_block)
    space.optimalIOSize = medium.optimal_io / medium.logical_block
    space.writeback = 1
    space.queueCount = UInt16(clamping: queues)
    guard !isReadOnly else { return space }
    space.maxWriteZeroesSectors = SimulatedDisk.maxWriteZeroesSectors
    space.maxWriteZeroesSegments = UInt32(SimulatedDisk.maxSegments)
    guard canDiscard else { return space }
    space.writeZeroesMayUnmap = 1
    space.maxDiscardSectors = SimulatedDisk.maxDiscardSectors
    space.maxDiscardSegments = UInt32(SimulatedDisk.maxSegments)
    space.discardSectorAlignment = medium.physical_block / BlockConfiguration.sectorSize
    return space
  }

  // MARK: Operations

  /// Fills memory with what is at an offset, or writes it there.
  ///
  /// - Returns: Whether all of it could be done.
  @unsafe func transfer(_ memory: UnsafeMutableRawPointer, length: Int, at offset: UInt64, isRead: Bool) -> Bool {
    var (memory, rest, offset) = unsafe (memory, length, offset)
    while rest > 0 {
      var vector = unsafe iovec(iov_base: memory, iov_len: rest)
      let done =
        unsafe isRead
        ? clinux_readv(file.rawValue, &vector, 1, offset) : clinux_writev(file.rawValue, &vector, 1, offset, false)
      if done == -Int(Errno.interrupted.rawValue) { continue }
      guard done > 0 else { return false }
      unsafe memory += done
      rest -= done
      offset += UInt64(done)
    }
    return true
  }

  /// Brings what was written to stable storage.
  func flush() -> Bool { clinux_sync(file.rawValue) == 0 }

  /// Frees the space of a range, which reads as zeroes from then on; false where that cannot be done.
  func punchHole(at offset: UInt64, length: UInt64) -> Bool {
    length == 0 || clinux_allocate(file.rawValue, CLINUX_PUNCH_HOLE, offset, length) == 0
  }

  /// Frees the space of a range, as far as that can be done: what it reads as then nobody knows.
  func discard(at offset: UInt64, length: UInt64) {
    if length == 0 { return }
    if medium.is_block_device {
      _ = clinux_discard(file.rawValue, offset, length)
    } else {
      _ = punchHole(at: offset, length: length)
    }
  }

  /// Writes zeroes.
  func writeZeroes(at offset: UInt64, length: UInt64) -> Bool {
    var zeroes = [UInt8](repeating: 0, count: Int(min(length, 1 << 16)))
    return unsafe zeroes.withUnsafeMutableBytes { bytes in
      guard let base = bytes.baseAddress else { return true }
      var done: UInt64 = 0
      while done < length {
        let count = min(length - done, UInt64(bytes.count))
        guard unsafe transfer(base, length: Int(count), at: offset + done, isRead: false) else { return false }
        done += count
      }
      return true
    }
  }
}
