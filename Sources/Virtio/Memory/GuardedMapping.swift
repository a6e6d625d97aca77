internal import CLinux
internal import Glibc
package import SystemPackage

/// Pages of a file that are shared with a peer, mapped readable and writable into this process and known to the
/// ``BusErrorGuard``; unmapped when the last owner lets go.
@safe package final class GuardedMapping: Sendable {
  // The mapping belongs to this object alone and is never replaced but by the guard, at the same addresses, so a pointer
  // to it may cross threads; what it points to is shared and only ever accessed in ways that allow for that.
  nonisolated(unsafe) private let base: UnsafeMutableRawPointer
  /// Its length in bytes.
  package let length: Int
  private let place: CInt

  /// Maps a part of a file.
  ///
  /// - Parameters:
  ///   - file: The file; it may be closed afterwards.
  ///   - offset: Where the part starts, at a page of the file.
  ///   - length: Its length in bytes, of whole pages of the file: on hugetlbfs, huge ones.
  ///   - name: What errors call it.
  /// - Throws: ``VirtioError`` `mappingFailed`, or `tooManyMappings` when the guard has no place left: nothing is mapped
  ///   unguarded.
  package init(
    file: FileDescriptor, offset: UInt64, length: Int, name: @autoclosure () -> String
  ) throws(VirtioError) {
    let address = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, file.rawValue, off_t(offset))
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw VirtioError(
        .mappingFailed, "\(name()): its file cannot be mapped", underlying: Errno(rawValue: errno))
    }
    place = unsafe clinux_guard_enter(address, length)
    guard place >= 0 else {
      _ = unsafe munmap(address, length)
      throw VirtioError(
        .tooManyMappings,
        "\(name()): this process has \(CLINUX_GUARD_CAPACITY) mappings of memory files already, which is all that it can "
          + "guard; serve fewer sockets by one process")
    }
    // What a peer has does not belong into a core file of this process.
    _ = unsafe madvise(address, length, MADV_DONTDUMP)
    unsafe base = address
    self.length = length
  }

  deinit {
    clinux_guard_leave(place)
    _ = unsafe munmap(base, length)
  }

  /// Where it starts in this process.
  @unsafe package var start: UnsafeMutableRawPointer { unsafe base }

  /// Whether pages of it were found gone, so that what is there now is no longer the peer's.
  package var isLost: Bool { clinux_guard_is_lost(place) }
}
