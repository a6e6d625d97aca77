internal import CLinux
public import SystemPackage

/// Keeps the process alive when a front-end shrinks a memory file that it has shared.
///
/// The next access to a page that is gone is SIGBUS, which ends a process. With the guard, the handler of that signal puts
/// anonymous memory in the place of the whole mapping and the access is done again; whoever serves the rings learns of it
/// after the burst, and the connection ends. A SIGBUS of other memory goes to the handler that was there before.
///
/// No thread that touches guest memory may block SIGBUS: the kernel then ends the process without asking any handler.
///
/// A library does not change what signals do by itself: an application that serves front-ends which it does not trust calls
/// ``install()`` at its start.
public enum BusErrorGuard {
  /// Installs the handler; once more does nothing. A handler that is installed later takes its place, and has to hand on
  /// what is not its own.
  ///
  /// - Throws: `Errno`, when the system refuses.
  public static func install() throws(Errno) {
    let error = clinux_guard_install()
    guard error == 0 else { throw Errno(rawValue: -error) }
  }

  /// How many mappings have been lost so far; wraps. One load, for the end of every burst.
  package static var losses: UInt32 { clinux_guard_losses() }

  /// Reads from each page of a piece of memory up to one that is gone, if the handler is installed. A system call on such a
  /// page only fails; an access by this process is what is taken note of.
  ///
  /// - Returns: Whether one was gone.
  @unsafe package static func touch(_ start: UnsafeRawPointer, length: Int) -> Bool {
    guard clinux_guard_is_installed(), length > 0 else { return false }
    let before = losses
    for offset in stride(from: 0, to: length, by: 4096) {
      unsafe clinux_touch(start + offset)
      if losses != before { return true }
    }
    unsafe clinux_touch(start + length - 1)
    return losses != before
  }
}
