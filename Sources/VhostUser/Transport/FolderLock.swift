import Glibc
import SystemPackage
import VDPA

/// A lock on a folder (flock(2)), held by whoever makes a socket file in it: between finding that a file is stale and
/// removing it nobody makes another one there, and nobody finds one that does not listen yet.
///
/// It leaves nothing behind, whatever becomes of the process that holds it.
struct FolderLock: ~Copyable {
  /// How long to wait for another process that makes a socket in the same folder, in milliseconds.
  private static let patience = 5000
  private static let pause = 5

  private let folder: OwnedFD

  /// Takes the lock of the folder that `path` is in.
  ///
  /// - Parameter patience: How long to wait for others, in milliseconds.
  /// - Throws: `.badPath` for a folder that cannot be read or locked; `.system` when somebody else keeps the lock.
  init(around path: String, patience: Int = FolderLock.patience) throws(VhostUserError) {
    let name = FilePath(path).removingLastComponent()
    let folderName = name.isEmpty ? "." : name.string
    let folder: OwnedFD
    do {
      folder = OwnedFD(adopting: try .open(FilePath(folderName), .readOnly, options: [.directory, .closeOnExec]))
    } catch {
      throw VhostUserError(.badPath, "no socket can be made at \(path): its folder", errno: error as? Errno)
    }
    var waited = 0
    while flock(folder.rawValue, LOCK_EX | LOCK_NB) != 0 {
      let error = Errno(rawValue: errno)
      switch error {
      case .wouldBlock where waited < patience:
        usleep(UInt32(FolderLock.pause) * 1000)
        waited += FolderLock.pause
      case .interrupted: continue
      case .wouldBlock:
        throw VhostUserError(
          .system, "\(folderName) stays locked by another process (flock), so no socket is made at \(path)",
          errno: error)
      default:
        throw VhostUserError(.badPath, "\(folderName) cannot be locked, so no socket is made at \(path)", errno: error)
      }
    }
    self.folder = folder
  }

  /// A child that is being forked may hold a copy of the descriptor for a moment: so it is unlocked.
  deinit { _ = flock(folder.rawValue, LOCK_UN) }
}
