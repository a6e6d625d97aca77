internal import CLinux
internal import SystemPackage
internal import VDPA
internal import Virtio

/// The medium of a block device: a regular file or a block device of this machine.
///
/// It is locked for as long as it is open: exclusively by a device that may write, together with others by one that only
/// reads (F_OFD_SETLK on all of the file, which QEMU's own locks exclude and are excluded by). Those that are to share it, the
/// two ends of a migration, lock it together, against everybody else.
final class BlockFile: Sendable {
  let path: String
  let isReadOnly: Bool
  let descriptor: OwnedFD
  /// The size in sectors of 512 bytes.
  let sectors: UInt64
  let isBlockDevice: Bool
  /// Whether it is on a file system that is nothing but memory.
  let isInMemory: Bool
  /// The unit that the medium is addressed in, in bytes: a power of two from 512 on.
  let logicalBlock: UInt32
  /// The unit that it is written in, in bytes: a power of two, and no less than the one above.
  let physicalBlock: UInt32
  /// The least size of an access that is worth while and the best one, in bytes; 0 when there is none.
  let minimumIO: UInt32
  let optimalIO: UInt32
  /// Whether space can be given back. A block device is asked when it is: one that cannot ignores it.
  let canDiscard: Bool

  /// Opens and locks a medium.
  ///
  /// - Parameters:
  ///   - path: Its path.
  ///   - isReadOnly: Whether it will only be read.
  ///   - isShared: Whether another device may have it open for writing.
  /// - Throws: ``DatapathError`` `badFile`, naming the file, for one that cannot be opened, is neither a regular file nor
  ///   a block device, has no sectors or not a whole number of them, or is in use.
  init(path: String, isReadOnly: Bool, isShared: Bool = false) throws(DatapathError) {
    func fail(_ why: String) -> DatapathError { DatapathError(.badFile, "\(path): \(why)") }
    let descriptor: OwnedFD
    do {
      // A pipe would make the open wait. A block device that is mounted, or otherwise claimed, cannot be opened
      // exclusively; with a file that says nothing.
      let options: FileDescriptor.OpenOptions = [.nonBlocking, isReadOnly || isShared ? [] : .exclusiveCreate]
      descriptor = OwnedFD(
        adopting: try .open(
          FilePath(path), isReadOnly ? .readOnly : .readWrite, options: options.union(.closeOnExec)))
    } catch {
      throw fail(BlockFile.advice(error, isReadOnly: isReadOnly))
    }
    var medium = clinux_medium()
    let error = unsafe clinux_examine_medium(descriptor.rawValue, &medium)
    guard error == 0 else { throw fail("it cannot be examined: \(Errno(rawValue: -error))") }
    guard medium.is_regular || medium.is_block_device else {
      throw fail("it is neither a regular file nor a block device")
    }
    // Reads and writes are to wait for what they need, though not in this process' own threads.
    let flags = clinux_status_flags(descriptor.rawValue)
    let blocking = flags & ~FileDescriptor.OpenOptions.nonBlocking.rawValue
    guard flags >= 0, clinux_set_status_flags(descriptor.rawValue, blocking) == 0 else {
      throw fail("its flags cannot be changed")
    }
    try BlockFile.lock(descriptor, isReadOnly: isReadOnly, isShared: isShared, fail)

    let sectorSize = UInt64(BlockConfiguration.sectorSize)
    guard medium.size > 0 else { throw fail("it is empty; give it the size that the disk is to have (truncate -s)") }
    guard medium.size % sectorSize == 0 else {
      throw fail(
        "its size of \(medium.size) bytes is not a multiple of \(sectorSize); "
          + "extend it to whole sectors (truncate -s %\(sectorSize))")
    }
    self.path = path
    self.isReadOnly = isReadOnly
    self.descriptor = descriptor
    sectors = medium.size / sectorSize
    isBlockDevice = medium.is_block_device
    isInMemory = medium.is_in_memory
    logicalBlock = BlockFile.blockSize(medium.logical_block, atLeast: BlockConfiguration.sectorSize)
    physicalBlock = BlockFile.blockSize(medium.physical_block, atLeast: logicalBlock)
    minimumIO = medium.minimum_io
    optimalIO = medium.optimal_io
    // A hole behind the end changes nothing, but tells whether there can be any.
    let end = (medium.size / UInt64(physicalBlock) + 1) * UInt64(physicalBlock)
    canDiscard =
      !isReadOnly
      && (medium.is_block_device
        || clinux_allocate(descriptor.rawValue, CLINUX_PUNCH_HOLE, end, UInt64(physicalBlock)) == 0)
  }

  private static func lock(
    _ descriptor: OwnedFD, isReadOnly: Bool, isShared: Bool, _ fail: (String) -> DatapathError
  ) throws(DatapathError) {
    let error = clinux_lock(descriptor.rawValue, !isReadOnly && !isShared)
    switch Errno(rawValue: -error) {
    case Errno(rawValue: 0): return
    case .resourceTemporarilyUnavailable:
      throw fail(
        isReadOnly
          ? "somebody is writing to it; stop the program or the device that does, or share the file there"
          : "it is in use already, by another program or another device; two writers would destroy it")
    case let error: throw fail("it cannot be locked against other writers: \(error)")
    }
  }

  private static func advice(_ error: any Error, isReadOnly: Bool) -> String {
    switch error as? Errno {
    case .permissionDenied where !isReadOnly, .readOnlyFileSystem:
      "it cannot be opened for writing: \(error); serve it read-only, or change its permissions"
    case .resourceBusy: "it cannot be opened: \(error); it is mounted or otherwise in use"
    default: "it cannot be opened: \(error)"
    }
  }

  /// A power of two that devices can have; others, which some file systems have, mean nothing to a guest.
  private static func blockSize(_ size: UInt32, atLeast least: UInt32) -> UInt32 {
    size >= least && size <= 1 << 20 && size & (size - 1) == 0 ? size : least
  }
}
