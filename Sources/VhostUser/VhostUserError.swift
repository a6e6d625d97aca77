public import SystemPackage

/// Why a vhost-user socket, connection or message was refused or ended.
public struct VhostUserError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What kind of failure this is.
  public let code: Code
  /// What was wrong, in words, without the objects named below.
  public let message: String
  /// The socket's name; nil as long as nobody has said it.
  public var socket: String?
  /// The message it is about, as `SET_VRING_KICK (12)`; nil when it is not about one.
  public var request: String?
  /// The vring's index; nil when it is not about one.
  public var ring: Int?
  /// What the system call said; nil when none failed.
  public let errno: Errno?

  /// Makes an error; who is concerned can be added later with the `with` functions.
  ///
  /// - Parameters:
  ///   - code: The kind of failure.
  ///   - message: What was wrong, in words; no full stop at its end.
  ///   - errno: What the system call said, if one failed.
  public init(_ code: Code, _ message: String, errno: Errno? = nil) {
    self.code = code
    self.message = message
    self.errno = errno
  }

  /// The same error, of the socket with that name. The name that is there first stays.
  public func with(socket: String) -> VhostUserError {
    var copy = self
    copy.socket = self.socket ?? socket
    return copy
  }

  /// The same error, about the message with that name. The name that is there first stays.
  public func with(request: String) -> VhostUserError {
    var copy = self
    copy.request = self.request ?? request
    return copy
  }

  /// The same error, about that vring. The index that is there first stays.
  public func with(ring: Int) -> VhostUserError {
    var copy = self
    copy.ring = self.ring ?? ring
    return copy
  }

  /// On which object what failed, why, and what to do: `vm0.sock: SET_VRING_KICK (12), vring 3: a descriptor is
  /// missing; …`.
  public var description: String {
    let about = [request, ring.map { "vring \($0)" }].compactMap(\.self).joined(separator: ", ")
    let subject = [socket, about.isEmpty ? nil : about].compactMap { $0.map { $0 + ": " } }.joined()
    let cause = errno.map { " (\($0))" } ?? ""
    return subject + message + cause + (code.advice.isEmpty ? "" : "; " + code.advice)
  }
}
