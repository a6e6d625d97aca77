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
  public let pages: UInt64
  /// What ``signal()`` does.
  private let signalling: (@Sendable () -> Void)?

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
    signalling = nil
  }

  private init(_ log: DirtyLog, signalling: @escaping @Sendable () -> Void) {
    mapping = log.mapping
    pages = log.pages
    self.signalling = signalling
  }

  /// The same log for a front-end that wants to hear when it was written to (vhost-user, SET_LOG_FD).
  ///
  /// - Parameter signal: Tells it. Called on the threads of devices, which it must not block.
  public func signalling(_ signal: @escaping @Sendable () -> Void) -> DirtyLog {
    DirtyLog(self, signalling: signal)
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
    var page = address / DirtyLog.pageSize
    guard page < pages else { return }
    let last = min((end.overflow ? .max : end.partialValue) / DirtyLog.pageSize, pages - 1)
    while page <= last {
      // The bitmap covers the page; it need not begin where a word does.
      let byte = unsafe mapping.start + Int(page / 8)
      let bit = page % 8
      if bit == 0, last - page >= 63, UInt(bitPattern: byte) % 8 == 0 {
        unsafe clinux_or_u64(byte, .max)
        page += 64
      } else {
        let count = min(last - page + 1, 8 - bit)
        unsafe clinux_or_u8(byte, UInt8(0xff >> (8 - count)) << UInt8(bit))
        page += count
      }
    }
  }

  /// Why what is noted does not reach the front-end, in words; nil while it does (``BusErrorGuard``).
  package var loss: String? {
    mapping.isLost
      ? "the dirty log of \(pages) pages is gone: the front-end has shrunk its file, so that its guest would arrive with "
        + "stale memory" : nil
  }

  /// Tells the front-end, if it wants to know, that something was noted; once for all that was written in a burst.
  public func signal() { signalling?() }
}
