import Glibc
import SystemPackage
package import VDPA

/// A socket that another process made and handed to this one (`--fd`; vhost-user, Backend program conventions).
package enum InheritedSocket {
  package enum Kind: Sendable {
    /// For ``Listener``.
    case listening
    /// For ``Connection``.
    case connected
  }

  /// Says what the socket is for, and makes it close-on-exec.
  ///
  /// - Throws: `.wrongDescriptor` for anything but a Unix stream socket that listens or is connected.
  package static func kind(of descriptor: OwnedFD) throws(VhostUserError) -> Kind {
    func refuse(_ why: String, _ errno: Errno?) -> VhostUserError {
      VhostUserError(.wrongDescriptor, "file descriptor \(descriptor.rawValue) \(why)", errno: errno)
    }
    do throws(Errno) {
      let (domain, type) = (
        try StreamSocket.option(SO_DOMAIN, of: descriptor), try StreamSocket.option(SO_TYPE, of: descriptor)
      )
      guard domain == AF_UNIX, type == CInt(SOCK_STREAM.rawValue) else { throw .protocolWrongTypeForSocket }
    } catch {
      throw refuse("is not a Unix stream socket", error)
    }
    do throws(Errno) {
      guard fcntl(descriptor.rawValue, F_SETFD, FD_CLOEXEC) == 0 else { throw Errno(rawValue: errno) }
      if try StreamSocket.option(SO_ACCEPTCONN, of: descriptor) != 0 { return .listening }
      try StreamSocket.checkConnected(descriptor)
      return .connected
    } catch {
      throw refuse("neither listens nor is connected", error)
    }
  }
}
