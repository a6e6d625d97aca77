import Glibc
import SystemPackage
package import VDPA

/// The file of a listening Unix socket, remembered by its inode so that only what was made here is removed again.
package struct SocketFile: Sendable {
  /// Who may connect.
  package struct Options: Sendable {
    /// Permission bits; nil leaves them to the umask.
    package var mode: UInt32?
    /// The owner's user id; nil leaves it.
    package var owner: UInt32?
    /// The group id; nil leaves it.
    package var group: UInt32?

    package init(mode: UInt32? = nil, owner: UInt32? = nil, group: UInt32? = nil) {
      self.mode = mode
      self.owner = owner
      self.group = group
    }
  }

  private struct Identity: Equatable {
    var device: UInt64
    var inode: UInt64
    var isSocket: Bool
  }

  package let path: String
  private let identity: Identity

  /// Makes a socket that listens at `path`.
  ///
  /// A socket file whose process has gone is replaced. One that somebody listens on, and a file that is no socket, stay.
  /// Of two that start at once one gets the path: see ``FolderLock``.
  ///
  /// - Throws: `.badPath`, `.pathInUse`, `.system`.
  package static func listen(
    at path: String, options: Options = Options()
  ) throws(VhostUserError) -> (socket: OwnedFD, file: SocketFile) {
    try check(path)
    let lock = try FolderLock(around: path)
    defer { withExtendedLifetime(lock) {} }
    let socket: OwnedFD
    do throws(Errno) {
      socket = try StreamSocket.make()
    } catch {
      throw VhostUserError(.system, "no socket can be made", errno: error)
    }
    try bind(socket, to: path)
    guard let identity = identity(of: path) else {
      throw VhostUserError(.badPath, "\(path) was removed while it was being set up")
    }
    let file = SocketFile(path: path, identity: identity)
    do throws(VhostUserError) {
      try file.apply(options)
      // Last, so that nobody connects before the permissions are right.
      do throws(Errno) {
        try StreamSocket.listen(socket)
      } catch {
        throw VhostUserError(.system, "the socket at \(path) cannot listen", errno: error)
      }
    } catch {
      file.remove()
      throw error
    }
    return (socket, file)
  }

  /// Throws unless a socket can have this path, whatever is there.
  package static func check(_ path: String) throws(VhostUserError) {
    let length = path.utf8.count
    guard length > 0, !path.utf8.contains(0) else {
      throw VhostUserError(.badPath, "a socket path is empty or contains a NUL")
    }
    guard length <= StreamSocket.longestPath else {
      throw VhostUserError(
        .badPath,
        "the socket path has \(length) bytes, \(StreamSocket.longestPath) is the most that Linux takes: \(path)")
    }
  }

  /// Removes the file if it is still the one that was made. Before its socket is closed: as long as somebody listens, nobody
  /// takes it for stale, and its inode number is not given away.
  package func remove() {
    if SocketFile.identity(of: path) == identity { SocketFile.unlink(path) }
  }

  private static func bind(_ socket: OwnedFD, to path: String) throws(VhostUserError) {
    // Once more after a stale file has gone; another process that is faster then has the path.
    for isLast in [false, true] {
      do throws(Errno) {
        return try StreamSocket.bind(socket, to: path)
      } catch {
        guard error == .addressInUse, !isLast else {
          throw VhostUserError(
            error == .addressInUse ? .pathInUse : .badPath, "no socket can be made at \(path)", errno: error)
        }
        try removeStale(path)
      }
    }
  }

  private static func removeStale(_ path: String) throws(VhostUserError) {
    guard let found = identity(of: path) else { return }
    guard found.isSocket else {
      throw VhostUserError(.badPath, "\(path) exists and is not a socket; it stays")
    }
    do throws(Errno) {
      try StreamSocket.connect(try StreamSocket.make(), to: path)
    } catch {
      switch error {
      // Nobody listens there: its process has gone.
      case .connectionRefused where identity(of: path) == found:
        unlink(path)
        return
      case .connectionRefused, .noSuchFileOrDirectory:
        return
      // Its queue is full, or it is of another type: somebody is there.
      case .wouldBlock, .protocolWrongTypeForSocket:
        break
      default:
        throw VhostUserError(.badPath, "whether somebody listens at \(path) cannot be told", errno: error)
      }
    }
    throw VhostUserError(.pathInUse, "another process listens at \(path)")
  }

  private func apply(_ options: Options) throws(VhostUserError) {
    if options.owner != nil || options.group != nil {
      // The largest id means: leave it.
      guard unsafe lchown(path, options.owner ?? .max, options.group ?? .max) == 0 else {
        throw VhostUserError(.system, "the owner of \(path) cannot be set", errno: Errno(rawValue: errno))
      }
    }
    if let mode = options.mode {
      guard unsafe chmod(path, mode) == 0 else {
        throw VhostUserError(.system, "the mode of \(path) cannot be set", errno: Errno(rawValue: errno))
      }
    }
  }

  private static func unlink(_ path: String) {
    _ = unsafe Glibc.unlink(path)
  }

  private static func identity(of path: String) -> Identity? {
    var info = stat()
    guard unsafe lstat(path, &info) == 0 else { return nil }
    return Identity(
      device: UInt64(info.st_dev), inode: UInt64(info.st_ino), isSocket: info.st_mode & S_IFMT == S_IFSOCK)
  }
}
