import Glibc
import SystemPackage

/// A connection to a daemon's control socket. Waits for each answer; for one thread.
package final class ControlClient {
  /// How many bytes an answer can have.
  private static let longestAnswer = 64 << 20
  private static let chunk = 1 << 16

  private let path: String
  private let patience: Int
  private let socket: FileDescriptor
  private var received: [UInt8] = []
  private var lastID = 0

  /// Connects.
  ///
  /// - Parameters:
  ///   - path: The control socket.
  ///   - patience: How long to wait for the daemon each time, in seconds.
  /// - Throws: ``ControlError``, which says what to do.
  package init(path: String, patience: Int = 60) throws(ControlError) {
    (self.path, self.patience) = (path, patience)
    socket = try Self.connect(to: path, patience: patience)
  }

  deinit { try? socket.close() }

  /// Calls a method and waits for its answer.
  ///
  /// - Throws: ``RPCError``, when the daemon does not do it; ``ControlError``, when it cannot be asked or does not answer.
  package func call<Method: ControlMethod>(_ method: Method) throws -> Method.Answer {
    lastID += 1
    let request = try RPCRequest(id: lastID, method: Method.name, params: method).lineJSON() + [10]
    let line: [UInt8]
    do throws(ControlError) {
      try send(request)
      line = try receive()
    } catch {
      throw refusal ?? error
    }
    let response: RPCResponse<Method.Answer>
    do {
      response = try RPCResponse(json: line)
    } catch {
      throw ControlError("who listens at \(path) does not answer as a vdpad of this version does: \(error)")
    }
    if let error = response.error { throw error }
    guard let result = response.result, response.id == .number(lastID) else {
      throw ControlError("who listens at \(path) answers something else than it was asked")
    }
    return result
  }

  /// Why the daemon has closed the connection, if it has said so before.
  private var refusal: RPCError? {
    guard let line = try? receive() else { return nil }
    return (try? RPCResponse<Nothing>(json: line))?.error
  }

  /// Sends bytes as they are.
  package func send(_ bytes: [UInt8]) throws(ControlError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      // The pointer lives through the call; the count is the buffer's.
      let sent = unsafe rest.withUnsafeBytes { buffer in
        unsafe Glibc.send(socket.rawValue, buffer.baseAddress, buffer.count, CInt(MSG_NOSIGNAL))
      }
      if sent < 0, errno == EINTR { continue }
      guard sent > 0 else { throw failure("takes no request", Errno(rawValue: errno)) }
      rest = rest.dropFirst(sent)
    }
  }

  /// The next line, without its end.
  package func receive() throws(ControlError) -> [UInt8] {
    var searched = 0
    while true {
      if let end = received[searched...].firstIndex(of: 10) {
        defer { received.removeSubrange(...end) }
        return Array(received[..<end])
      }
      searched = received.count
      guard searched <= Self.longestAnswer else { throw ControlError("the answer of \(path) has no end") }
      var count = 0
      // The call writes at most `chunk` bytes and says how many it wrote.
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Self.chunk) { buffer, initialized in
        repeat {
          count = unsafe recv(socket.rawValue, buffer.baseAddress, Self.chunk, 0)
        } while count < 0
          && errno == EINTR
        initialized = max(count, 0)
      }
      guard count >= 0 else { throw failure("does not answer", Errno(rawValue: errno)) }
      guard count > 0 else {
        throw ControlError("the daemon at \(path) has closed the connection; its log may say why")
      }
      received += bytes
    }
  }

  /// Says that no more requests come; answers can still be received.
  package func finish() { _ = shutdown(socket.rawValue, CInt(SHUT_WR)) }

  private func failure(_ what: String, _ errno: Errno) -> ControlError {
    errno == .wouldBlock
      ? ControlError(
        "the daemon at \(path) \(what) for \(patience) seconds; what it was asked for may still come about")
      : ControlError("the daemon at \(path) \(what)", errno: errno)
  }

  private static func connect(to path: String, patience: Int) throws(ControlError) -> FileDescriptor {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let room = MemoryLayout.size(ofValue: address.sun_path) - 1
    guard (1...room).contains(path.utf8.count), !path.utf8.contains(0) else {
      throw ControlError("a control socket's path has 1 to \(room) bytes: \(path)")
    }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let number = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw ControlError("no socket can be made", errno: Errno(rawValue: errno)) }
    var limit = timeval(tv_sec: patience, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      // The kernel reads as many bytes as it is told.
      unsafe setsockopt(number, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    // A sockaddr_un begins with the fields of sockaddr; the length says how much the call may read.
    let result = unsafe withUnsafePointer(to: address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe Glibc.connect(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else {
      let error = Errno(rawValue: errno)
      Glibc.close(number)
      throw ControlError(reason(path, error), errno: error)
    }
    return FileDescriptor(rawValue: number)
  }

  private static func reason(_ path: String, _ error: Errno) -> String {
    switch error {
    case .noSuchFileOrDirectory, .connectionRefused:
      "no daemon listens at \(path); start one with `vdpad run`, or name its socket with --control"
    case .permissionDenied: "\(path) may not be used; be root, its owner or in its group"
    default: "the daemon at \(path) cannot be reached"
    }
  }
}
