import CLinux
import Glibc
import SystemPackage
import VDPA
import VhostUser

/// A front-end's listening socket, for a back-end that connects.
package final class FrontEndListener {
  package let path: String
  private var socket: OwnedFD?

  package init(path: String) throws {
    let socket = try StreamSocket.make()
    try StreamSocket.bind(socket, to: path)
    try StreamSocket.listen(socket)
    self.path = path
    self.socket = socket
  }

  /// The front-end's end of the next connection; nil when no back-end connects in time.
  package func accept(milliseconds: CInt = 10_000) throws -> RawFrontEnd? {
    let socket = try require(socket, "the front-end listens no more")
    var entry = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&entry, 1, milliseconds) == 1 else { return nil }
    let accepted = clinux_accept(socket.rawValue)
    guard accepted >= 0 else { throw Errno(rawValue: -accepted) }
    return RawFrontEnd(adopting: OwnedFD(adopting: FileDescriptor(rawValue: accepted)))
  }

  /// Listens no more and leaves the file behind, as a process that ends does.
  package func abandon() {
    // A child that is being forked at the time may hold a copy of the socket for a moment.
    if let socket { StreamSocket.shutDown(socket) }
    socket = nil
  }

  /// Listens no more and removes the file.
  package func close() {
    _ = unsafe unlink(path)
    abandon()
  }
}
