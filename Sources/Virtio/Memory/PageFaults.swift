internal import CLinux
public import SystemPackage

/// A userfaultfd: whoever holds its descriptor is told of accesses to pages of guest memory that have not arrived yet, and
/// brings them (vhost-user, Postcopy).
///
/// Accesses of the kernel wait too, such as those of a read from a disk into guest memory.
public final class PageFaults: Sendable {
  /// The descriptor; it is closed with this object.
  public let descriptor: FileDescriptor

  /// Makes one.
  ///
  /// - Throws: `Errno`, when this process may have none that serves accesses of the kernel (it needs CAP_SYS_PTRACE,
  ///   /dev/userfaultfd, or vm.unprivileged_userfaultfd), or the kernel's serves no shared memory.
  public init() throws(Errno) {
    let result = clinux_userfaultfd()
    guard result >= 0 else { throw Errno(rawValue: -result) }
    descriptor = FileDescriptor(rawValue: result)
  }

  deinit { try? descriptor.close() }

  /// Why this process can have none; nil when it can. Found out once.
  public static let lack: Errno? = {
    do throws(Errno) {
      _ = try PageFaults()
      return nil
    } catch {
      return error
    }
  }()

  @unsafe func register(_ start: UnsafeMutableRawPointer, _ length: Int) throws(Errno) {
    let error = unsafe clinux_userfaultfd_register(descriptor.rawValue, start, length)
    guard error == 0 else { throw Errno(rawValue: -error) }
  }

  @unsafe func unregister(_ start: UnsafeMutableRawPointer, _ length: Int) {
    _ = unsafe clinux_userfaultfd_unregister(descriptor.rawValue, start, length)
  }
}
