import CLinux
import Glibc
package import SystemPackage
package import VDPA

/// The system calls on Unix stream sockets, one thin function each.
package enum StreamSocket {
  /// What one recvmsg(2) brought.
  package struct Received {
    /// Empty at the end of the stream.
    package var bytes: [UInt8]
    package var descriptors: [OwnedFD]
    /// Descriptors were lost: more than asked for, or this process can have no more of them.
    package var truncated: Bool
  }

  /// Makes an unconnected socket, non-blocking and close-on-exec.
  package static func make() throws(Errno) -> OwnedFD {
    let type = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let fd = socket(AF_UNIX, type, 0)
    guard fd >= 0 else { throw Errno(rawValue: errno) }
    return OwnedFD(adopting: FileDescriptor(rawValue: fd))
  }

  package static func bind(_ socket: OwnedFD, to path: String) throws(Errno) {
    let address = address(of: path)
    guard unsafe withSocketAddress(address, { unsafe Glibc.bind(socket.rawValue, $0, $1) }) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  package static func connect(_ socket: OwnedFD, to path: String) throws(Errno) {
    let address = address(of: path)
    guard unsafe withSocketAddress(address, { unsafe Glibc.connect(socket.rawValue, $0, $1) }) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  package static func listen(_ socket: OwnedFD) throws(Errno) {
    guard Glibc.listen(socket.rawValue, 16) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Ends both directions at once, whoever else holds the socket.
  package static func shutDown(_ socket: OwnedFD) {
    _ = shutdown(socket.rawValue, CInt(SHUT_RDWR))
  }

  /// Whether the peer has closed its end.
  package static func isHungUp(_ socket: OwnedFD) -> Bool {
    clinux_is_hung_up(socket.rawValue)
  }

  package static func setNonBlocking(_ socket: OwnedFD) throws(Errno) {
    let flags = clinux_status_flags(socket.rawValue)
    let result = flags < 0 ? flags : clinux_set_status_flags(socket.rawValue, flags | O_NONBLOCK)
    guard result >= 0 else { throw Errno(rawValue: -result) }
  }

  /// An integer option of the level SOL_SOCKET.
  package static func option(_ name: CInt, of socket: OwnedFD) throws(Errno) -> CInt {
    var value: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    guard unsafe getsockopt(socket.rawValue, SOL_SOCKET, name, &value, &length) == 0 else {
      throw Errno(rawValue: errno)
    }
    return value
  }

  /// Throws unless the socket has a peer.
  package static func checkConnected(_ socket: OwnedFD) throws(Errno) {
    var address = sockaddr()
    var length = socklen_t(MemoryLayout<sockaddr>.size)
    // Only whether it succeeds is of interest; the kernel writes no more than `length` bytes.
    guard unsafe getpeername(socket.rawValue, &address, &length) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Receives without waiting, even if somebody else who holds the socket has made it blocking.
  ///
  /// - Parameters:
  ///   - count: The most bytes to take off the stream; at least 1.
  ///   - capacity: The most descriptors to take.
  /// - Throws: `.wouldBlock` when there is nothing.
  package static func receive(
    _ socket: OwnedFD, atMost count: Int, descriptors capacity: Int
  ) throws(Errno) -> Received {
    var numbers = [CInt](repeating: -1, count: Int(CLINUX_MAX_FDS))
    var found: CInt = 0
    var truncated = false
    var result = 0
    // The call writes at most `count` bytes into a buffer of that capacity and says how many it wrote.
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      result = unsafe clinux_receive(
        socket.rawValue, buffer.baseAddress, count, &numbers, &found, &truncated)
      initialized = max(0, result)
    }
    let descriptors = numbers.prefix(Int(found)).map { OwnedFD(received: FileDescriptor(rawValue: $0)) }
    guard result >= 0 else { throw Errno(rawValue: CInt(-result)) }
    return Received(
      bytes: bytes, descriptors: Array(descriptors.prefix(capacity)),
      truncated: truncated || descriptors.count > capacity)
  }

  /// Sends without SIGPIPE and without waiting, even if somebody else who holds the socket has made it blocking.
  ///
  /// - Returns: How many bytes the kernel took; the descriptors go with the first.
  /// - Throws: `.wouldBlock` when it takes none.
  package static func send(
    _ socket: OwnedFD, _ bytes: ArraySlice<UInt8>, descriptors: [OwnedFD]
  ) throws(Errno) -> Int {
    let numbers = descriptors.map(\.rawValue)
    let result = unsafe bytes.withUnsafeBytes { buffer in
      unsafe numbers.withUnsafeBufferPointer { numbers in
        unsafe clinux_send(
          socket.rawValue, buffer.baseAddress, buffer.count, numbers.baseAddress, CInt(numbers.count))
      }
    }
    guard result >= 0 else { throw Errno(rawValue: CInt(-result)) }
    return result
  }

  /// Bytes a path may have: sun_path without its closing NUL.
  package static let longestPath = MemoryLayout.size(ofValue: sockaddr_un().sun_path) - 1

  /// The path must fit: the callers have checked it.
  private static func address(of path: String) -> sockaddr_un {
    precondition(path.utf8.count <= longestPath)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    return address
  }

  private static func withSocketAddress(
    _ address: sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt
  ) -> CInt {
    // A sockaddr_un begins with the fields of sockaddr; the length says how much the call may read.
    unsafe withUnsafePointer(to: address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}
