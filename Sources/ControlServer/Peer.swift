import CLinux
import Glibc
import SystemPackage

/// Who is at the other end of a connection, as the kernel says (unix(7), SO_PEERCRED).
package struct Peer: Sendable, CustomStringConvertible {
  package let pid: Int32
  package let user: UInt32
  /// Its groups, the first of them its main one.
  package let groups: [UInt32]

  package init(pid: Int32, user: UInt32, groups: [UInt32]) {
    (self.pid, self.user, self.groups) = (pid, user, groups)
  }

  /// The peer of a connected Unix socket.
  init(of socket: CInt) throws(Errno) {
    var (pid, user, group) = (CInt(0), CUnsignedInt(0), CUnsignedInt(0))
    let result = unsafe clinux_peer(socket, &pid, &user, &group)
    guard result == 0 else { throw Errno(rawValue: -result) }
    self.init(pid: pid, user: user, groups: [group] + Self.otherGroups(of: socket))
  }

  /// SO_PEERGROUPS, which the C library's headers do not name.
  private static let peerGroups: CInt = 59

  private static func otherGroups(of socket: CInt) -> [UInt32] {
    var length: socklen_t = 0
    // Without room the call says how much it needs.
    guard unsafe getsockopt(socket, SOL_SOCKET, peerGroups, nil, &length) != 0, errno == ERANGE else { return [] }
    var groups = [UInt32](repeating: 0, count: Int(length) / MemoryLayout<UInt32>.size)
    // They do not change any more: they are those from when the peer connected.
    guard unsafe getsockopt(socket, SOL_SOCKET, peerGroups, &groups, &length) == 0 else { return [] }
    return groups
  }

  package var description: String { "pid \(pid), uid \(user)" }
}
