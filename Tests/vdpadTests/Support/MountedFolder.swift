import Glibc
import Peers
import SystemPackage

/// A folder with a file system of its own in it. Only for the superuser.
final class MountedFolder: Sendable {
  static let isPossible = getuid() == 0

  private let scratch: ScratchDirectory
  var path: String { scratch.path }

  init(_ type: String, options: String) throws {
    scratch = try ScratchDirectory("mount")
    guard unsafe mount(type, scratch.path, type, 0, options) == 0 else { throw Errno(rawValue: errno) }
  }

  deinit { _ = unsafe umount2(scratch.path, CInt(MNT_DETACH)) }

  /// Makes a file in it.
  func makeFile(_ name: String) throws -> FileDescriptor {
    try .open(FilePath("\(path)/\(name)"), .readWrite, options: [.create], permissions: .ownerReadWrite)
  }
}
