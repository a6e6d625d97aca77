internal import CLinux
internal import Glibc
public import SystemPackage

/// A file descriptor with shared ownership: it is closed when its last owner lets go.
///
/// Kick, call and error descriptors of a vring are used by a session, a device and a worker at once; none of them may
/// see the number reused for another file while it still holds it.
public final class OwnedFD: Sendable {
  /// The descriptor. Valid for as long as this object is alive; never close it.
  public let descriptor: FileDescriptor

  /// Whether a peer sent it, so that it can be any kind of file.
  private let isForeign: Bool

  /// Takes over `descriptor`, which nobody else may close from now on.
  public init(adopting descriptor: FileDescriptor) {
    self.descriptor = descriptor
    isForeign = false
  }

  /// Takes over a descriptor that a peer has sent. Closing it never blocks whoever lets go of it last.
  package init(received descriptor: FileDescriptor) {
    self.descriptor = descriptor
    isForeign = true
  }

  deinit {
    if isForeign && !isEventFD && !isMemory {
      // The last close of a socket that lingers, or of a file whose file system is a process, takes as long as the peer
      // likes.
      let descriptor = descriptor
      OwnedFD.closer.run { try? descriptor.close() }
    } else {
      try? descriptor.close()
    }
  }

  /// Closes what may block; its thread is made when the first such descriptor comes.
  private static let closer = SerialThread(name: "vdpa-closer")

  /// Whether its pages are memory (memfd, tmpfs, hugetlbfs), so that using it can wait for nobody.
  public var isMemory: Bool { clinux_is_memory(rawValue) }

  /// The descriptor's number.
  @inlinable public var rawValue: CInt { descriptor.rawValue }

  /// A second descriptor of the same open file description (`fcntl(F_DUPFD_CLOEXEC)`).
  ///
  /// - Throws: `Errno`, when the process has no descriptor left.
  public func duplicate() throws(Errno) -> OwnedFD {
    let copy = clinux_duplicate(rawValue)
    guard copy >= 0 else { throw Errno(rawValue: -copy) }
    return OwnedFD(adopting: FileDescriptor(rawValue: copy))
  }

  /// The same of a descriptor that belongs to somebody else.
  ///
  /// - Throws: `Errno`, when the process has no descriptor left.
  package static func duplicating(_ descriptor: FileDescriptor) throws(Errno) -> OwnedFD {
    let copy = clinux_duplicate(descriptor.rawValue)
    guard copy >= 0 else { throw Errno(rawValue: -copy) }
    return OwnedFD(adopting: FileDescriptor(rawValue: copy))
  }

  /// What kind of file this is, as far as the kernel tells by its name: `anon_inode:[eventfd]`, `/memfd:name (deleted)`,
  /// a path.
  public var kernelName: String {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
      guard let base = buffer.baseAddress else { return "" }
      let length = unsafe readlink("/proc/self/fd/\(rawValue)", base, buffer.count)
      guard length > 0 else { return "" }
      return unsafe String(decoding: UnsafeRawBufferPointer(start: base, count: length), as: UTF8.self)
    }
  }

  /// Whether this is an eventfd, the only kind of file that may be a kick or call descriptor here.
  public var isEventFD: Bool { kernelName == "anon_inode:[eventfd]" }
}
