internal import CLinux
internal import Glibc
public import SystemPackage

/// A memory file of a guest, or a part of one, mapped readable and writable into this process; unmapped when the last
/// owner lets go.
@safe public final class MemoryMapping: Sendable {
  /// Which kinds of file may be memory.
  public enum FilePolicy: Sendable {
    /// memfd, tmpfs and hugetlbfs: files whose pages are memory.
    case memoryOnly
    /// Any file that can be mapped. An access can then block on a disk, a network or a process (FUSE), and with it the
    /// worker that serves the queue and every other queue of that worker.
    case anyFileAtTheRiskOfBlockedWorkers
  }

  private let mapping: GuardedMapping
  private let lead: Int
  /// What it was mapped for.
  let region: MemoryRegion
  private let policy: FilePolicy
  /// Which file it is: the numbers of a file that is mapped are given to no other.
  private let identity: FileIdentity

  private struct FileIdentity: Equatable {
    var device: UInt64 = 0
    var inode: UInt64 = 0

    init?(_ file: FileDescriptor) {
      guard unsafe clinux_identity(file.rawValue, &device, &inode) == 0 else { return nil }
    }
  }

  /// Maps the part of a file that a region describes.
  ///
  /// - Parameters:
  ///   - file: The memory file; it may be closed afterwards.
  ///   - region: Which part of it.
  ///   - policy: Which kinds of file are accepted.
  /// - Throws: ``VirtioError`` `wrongFileSystem`, `fileTooSmall`, `mappingFailed` or `tooManyMappings`.
  public init(
    file: FileDescriptor, region: MemoryRegion, policy: FilePolicy = .memoryOnly
  ) throws(VirtioError) {
    // First what no file system can make block, then the rest.
    guard policy == .anyFileAtTheRiskOfBlockedWorkers || clinux_is_memory(file.rawValue) else {
      throw VirtioError(
        .wrongFileSystem,
        "memory region \(region): its file is not memfd, tmpfs or hugetlbfs; give the guest memory from "
          + "memory-backend-memfd, /dev/shm or /dev/hugepages")
    }
    var fileSystem: Int64 = 0
    var size: Int64 = 0
    var block: Int64 = 0
    let error = unsafe min(
      clinux_filesystem(file.rawValue, &fileSystem), clinux_size(file.rawValue, &size, &block))
    guard error == 0, let identity = FileIdentity(file) else {
      throw VirtioError(
        .mappingFailed, "memory region \(region): its file cannot be examined", underlying: Errno(rawValue: -error))
    }
    let isHuge = fileSystem == Int64(CLINUX_HUGETLBFS_MAGIC)
    guard size >= 0, region.fileOffset + region.size <= UInt64(size) else {
      throw VirtioError(
        .fileTooSmall, "memory region \(region) ends behind its file, which has \(size) bytes")
    }
    // A mapping starts at a page of the file, on hugetlbfs at a huge page, and covers whole ones.
    let page = isHuge ? UInt64(max(block, 4096)) : UInt64(sysconf(CInt(_SC_PAGESIZE)))
    let lead = region.fileOffset % page
    let total = (region.size + lead + page - 1) / page * page
    guard let length = Int(exactly: total) else {
      throw VirtioError(.regionOutOfRange, "memory region \(region) is larger than this process can map")
    }
    mapping = try GuardedMapping(
      file: file, offset: region.fileOffset - lead, length: length, name: "memory region \(region)")
    self.lead = Int(lead)
    self.identity = identity
    self.region = region
    self.policy = policy
  }

  /// Whether it is of that file.
  func isOf(_ file: FileDescriptor) -> Bool {
    // Again first what no file system can make block.
    (policy == .anyFileAtTheRiskOfBlockedWorkers || clinux_is_memory(file.rawValue)) && FileIdentity(file) == identity
  }

  /// Whether pages of it were found gone (``BusErrorGuard``).
  package var isLost: Bool { mapping.isLost }

  /// Makes accesses to pages that are not there wait until they are brought.
  func register(with faults: PageFaults) throws(Errno) { unsafe try faults.register(mapping.start, mapping.length) }

  /// Lets accesses wait no more; pages that are not there are zeroes.
  func unregister(from faults: PageFaults) { unsafe faults.unregister(mapping.start, mapping.length) }

  /// Where the region starts in this process.
  @unsafe package var start: UnsafeMutableRawPointer { unsafe mapping.start + lead }
}
