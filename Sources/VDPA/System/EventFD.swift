internal import CLinux
internal import Glibc
public import SystemPackage

/// The operations on an eventfd(2).
public enum EventFD {
  /// Makes an eventfd with the count 0, non-blocking and close-on-exec.
  ///
  /// - Throws: `Errno`, when the process or the system has no descriptor left.
  public static func make() throws(Errno) -> OwnedFD {
    let fd = eventfd(0, CInt(EFD_CLOEXEC) | CInt(EFD_NONBLOCK))
    guard fd >= 0 else { throw Errno(rawValue: errno) }
    return OwnedFD(adopting: FileDescriptor(rawValue: fd))
  }

  /// Adds 1 to the count if that cannot block.
  ///
  /// The peer shares the open file description and may have made it blocking, or filled it to its maximum. So the write
  /// is done only when poll(2) says that there is room; a full counter is already signalled, which is all that a
  /// notification has to achieve.
  ///
  /// - Returns: Whether the count was raised.
  @discardableResult
  public static func signal(_ fd: OwnedFD) -> Bool {
    var entry = pollfd(fd: fd.rawValue, events: Int16(POLLOUT), revents: 0)
    guard unsafe poll(&entry, 1, 0) == 1, entry.revents & Int16(POLLOUT) != 0 else { return false }
    var one: UInt64 = 1
    return unsafe write(fd.rawValue, &one, 8) == 8
  }

  /// Sets the count to 0.
  ///
  /// - Returns: The count before; 0 when it was 0.
  @discardableResult
  public static func drain(_ fd: OwnedFD) -> UInt64 {
    var count: UInt64 = 0
    return unsafe read(fd.rawValue, &count, 8) == 8 ? count : 0
  }
}
