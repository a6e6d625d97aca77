internal import CLinux
public import SystemPackage

/// A bitmap, shared with a front-end, of the pages of guest memory that a device has written since the front-end looked
/// last (vhost-user, Migration: bit n is the page of 4096 bytes with the number n).
///
/// Bits are set atomically, from any thread, while the front-end takes them away.
@safe public final class DirtyLog: Sendable {
  /// Bytes that one bit stands for.
  public static let pageSize: UInt64 = 4096

  private let mapping: MemoryMapping
  /// How many pages the bitmap has room for.
  private let pages: UInt64

  /// Maps a log.
  ///
  /// - Parameters:
  ///   - file: The shared file; it may be closed afterwards.
  ///   - offset: Where the bitmap begins in it, in bytes.
  ///   - size: How many bytes it has.
  ///   - policy: Which kinds of file are accepted.
  /// - Throws: ``VirtioError`` for a file that is too small, of another kind, or cannot be mapped.
  public init(
    file: FileDescriptor, offset: UInt64, size: UInt64, policy: MemoryMapping.FilePolicy = .memoryOnly
  ) throws(VirtioError) {
    let part = try MemoryRegion(guestAddress: 0, size: size, userAddress: 0, fileOffset: offset)
    mapping = try MemoryMapping(file: file, region: part, policy: policy)
    pages = size.multipliedReportingOverflow(by: 8).overflow ? .max : size * 8
  }

  /// Whether there is a bit for every page below a guest address.
  public func covers(upTo end: UInt64) -> Bool { end == 0 || (end - 1) / DirtyLog.pageSize < pages }

  /// Notes that bytes were written. What the bitmap has no room for is not noted.
  ///
  /// - Parameters:
  ///   - address: The first byte, by its guest physical address.
  ///   - length: How many bytes; none for 0.
  public func mark(_ address: UInt64, length: UInt64) {
    guard length > 0 else { return }
    let end = address.addingReportingOverflow(length - 1)
    let first = address / DirtyLog.pageSize
    guard first < pages else { return }
    let last = min((end.overflow ? .max : end.partialValue) / DirtyLog.pageSize, pages - 1)
    for page in first...last {
      unsafe clinux_or_u8(mapping.start + Int(page / 8), 1 << UInt8(page % 8))
    }
  }
}
