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

  /// What signals; nil where the system has none to give.
  private static let notifier: (context: UInt64, idle: CInt)? = {
    var (context, idle): (UInt64, CInt) = (0, -1)
    guard unsafe clinux_notifier_create(&context, &idle) == 0, let own = try? make() else { return nil }
    // A sandbox may have half of it, or make something else of it.
    guard clinux_notify(context, idle, own.rawValue) == 0, drain(own) == 1 else { return nil }
    return (context, idle)
  }()

  /// Whether ``signal(_:)`` can never block here, or only as far as can be foreseen: the kernel has no asynchronous I/O
  /// (`CONFIG_AIO`, a sandbox), or other processes have taken all of it (`fs.aio-max-nr`).
  public static var neverBlocks: Bool { notifier != nil }

  /// Adds 1 to the count without ever blocking.
  ///
  /// A peer shares the open file description and may make it blocking, or fill it to its maximum, at any moment: a
  /// write(2) could then wait, however carefully poll(2) was asked before. So the kernel does it, as the completion of an
  /// operation of asynchronous I/O that has nothing to do. A full counter stays full; it is signalled already, which is
  /// all that a notification has to achieve.
  ///
  /// - Returns: Whether it was signalled.
  @discardableResult
  public static func signal(_ fd: OwnedFD) -> Bool {
    guard let notifier else { return signalIfRoom(fd) }
    return clinux_notify(notifier.context, notifier.idle, fd.rawValue) == 0
  }

  /// The same without asynchronous I/O: only what a peer does between poll(2) and write(2) can make it block.
  static func signalIfRoom(_ fd: OwnedFD) -> Bool {
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
