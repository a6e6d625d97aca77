import Glibc

/// Who may use a control socket: the superuser, this process's user, and those whom the file's owner, group and mode allow.
///
/// The kernel looks at the file when somebody connects. This looks once more, so that a file which everybody may write to
/// lets nobody else in.
package struct AccessRule: Sendable {
  private let path: String

  package init(path: String) { self.path = path }

  package func admits(_ peer: Peer) -> Bool {
    if peer.user == 0 || peer.user == geteuid() { return true }
    var info = stat()
    guard unsafe lstat(path, &info) == 0 else { return false }
    if info.st_uid == peer.user { return info.st_mode & S_IWUSR != 0 }
    return info.st_mode & S_IWGRP != 0 && peer.groups.contains(info.st_gid)
  }
}
