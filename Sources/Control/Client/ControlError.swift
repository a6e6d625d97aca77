package import SystemPackage

/// The daemon could not be asked, or did not answer.
package struct ControlError: Error, Sendable, CustomStringConvertible {
  /// What failed, and what to do.
  package let message: String
  /// What the system call said; nil when none failed.
  package let errno: Errno?

  init(_ message: String, errno: Errno? = nil) {
    (self.message, self.errno) = (message, errno)
  }

  package var description: String { message + (errno.map { " (\($0))" } ?? "") }
}
