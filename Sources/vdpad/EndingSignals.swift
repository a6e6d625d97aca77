import CLinux
import Glibc
import SystemPackage
import VDPA

/// What ends the daemon: SIGTERM, SIGINT, or a call.
final class EndingSignals: Sendable {
  private let signals: OwnedFD
  private let wake: OwnedFD

  /// Takes the signals over, for this thread and those that it starts.
  init() throws {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    unsafe sigaddset(&set, SIGTERM)
    unsafe sigaddset(&set, SIGINT)
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    let descriptor = unsafe signalfd(-1, &set, CInt(SFD_CLOEXEC) | CInt(SFD_NONBLOCK))
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    signals = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    wake = try EventFD.make()
  }

  /// Ends the daemon from within.
  func end() { EventFD.signal(wake) }

  /// Waits.
  ///
  /// - Parameter milliseconds: How long; −1 without end.
  /// - Returns: Whether it is time to end.
  func wait(milliseconds: Int32) -> Bool {
    var entries = [
      pollfd(fd: signals.rawValue, events: Int16(POLLIN), revents: 0),
      pollfd(fd: wake.rawValue, events: Int16(POLLIN), revents: 0),
    ]
    return unsafe Glibc.poll(&entries, 2, milliseconds) > 0
  }
}
