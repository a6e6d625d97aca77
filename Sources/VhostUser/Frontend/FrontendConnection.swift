import Glibc
import SystemPackage
public import VDPA

/// A connection to a back-end, from the front-end's end: requests go out, replies come back (vhost-user, Communication).
///
/// For one thread. Every call waits for the back-end as long as ``timeout`` says and no longer, whatever the back-end does;
/// connecting as well. After an error that leaves it open what comes next on the stream, the connection is closed.
public final class FrontendConnection {
  /// What errors call it: the path.
  public let name: String
  /// How long one request, with its reply, may take.
  public var timeout: Duration

  /// The socket; nil once it is closed.
  package private(set) var socket: OwnedFD?
  private var parser = MessageParser(expecting: .reply)

  /// Connects to a back-end that listens.
  ///
  /// - Parameters:
  ///   - path: The path of its socket.
  ///   - timeout: How long connecting, and each request later on, may take.
  ///   - waitsForListener: Whether to wait for somebody to listen at the path, such as a back-end that is being restarted.
  /// - Throws: ``VhostUserError`` `badPath`, when nobody listens there; `timedOut`; `system`.
  public init(path: String, timeout: Duration = .seconds(10), waitsForListener: Bool = false) throws(VhostUserError) {
    name = path
    self.timeout = timeout
    socket = try FrontendConnection.connect(to: path, Deadline(after: timeout), waits: waitsForListener)
  }

  /// Takes over a connected Unix stream socket.
  ///
  /// - Parameters:
  ///   - socket: It is made non-blocking.
  ///   - name: What errors call it.
  ///   - timeout: How long each request may take.
  /// - Throws: ``VhostUserError`` `wrongDescriptor`, for anything else.
  public init(adopting socket: OwnedFD, name: String, timeout: Duration = .seconds(10)) throws(VhostUserError) {
    self.name = name
    self.timeout = timeout
    guard try InheritedSocket.kind(of: socket) == .connected else {
      throw VhostUserError(.wrongDescriptor, "the socket listens and is not connected").with(socket: name)
    }
    do throws(Errno) {
      try StreamSocket.setNonBlocking(socket)
    } catch {
      throw VhostUserError(.system, "the socket cannot be made non-blocking", errno: error).with(socket: name)
    }
    self.socket = socket
  }

  /// Whether the back-end is there: this side has not closed the connection, nor has the other one.
  public var isConnected: Bool { socket.map { !StreamSocket.isHungUp($0) } ?? false }

  /// Leaves. The back-end sees the end of the connection at once, whoever else holds the socket.
  public func close() {
    if let socket { StreamSocket.shutDown(socket) }
    socket = nil
  }

  private static func connect(
    to path: String, _ deadline: Deadline, waits: Bool
  ) throws(VhostUserError) -> OwnedFD {
    try SocketFile.check(path)
    var pause: CInt = 1
    while true {
      do throws(Errno) {
        let socket = try StreamSocket.make()
        try StreamSocket.connect(socket, to: path)
        return socket
      } catch {
        let isAbsent = error == .connectionRefused || error == .noSuchFileOrDirectory
        // A full queue of connections: the back-end is there and busy. There is nothing that poll(2) could wait for.
        guard error == .wouldBlock || isAbsent && waits else {
          throw VhostUserError(.badPath, isAbsent ? "no back-end listens" : "no connection can be made", errno: error)
            .with(socket: path)
        }
        guard !deadline.hasPassed else {
          throw VhostUserError(
            .timedOut, isAbsent ? "no back-end has come to listen" : "the back-end takes no connection", errno: error
          ).with(socket: path)
        }
        _ = poll(nil, 0, min(pause, deadline.milliseconds))
        pause = min(2 * pause, 100)
      }
    }
  }

  // MARK: Requests

  /// Sends a request.
  ///
  /// - Throws: ``VhostUserError`` `disconnected`, `timedOut` or `system`.
  package func send(
    _ request: FrontendRequest, _ payload: [UInt8] = [], flags: MessageHeader.Flags = [], descriptors: [OwnedFD] = []
  ) throws(VhostUserError) {
    do throws(VhostUserError) {
      let header = MessageHeader(request: request.rawValue, flags: flags, size: payload.count)
      try send(header.encoded + payload, descriptors, Deadline(after: timeout))
    } catch {
      throw fail(error.with(request: request.description))
    }
  }

  /// Sends a request that has a reply, and takes it.
  ///
  /// - Parameter count: How many descriptors may come with the reply.
  /// - Returns: The reply: to that request, its flags exactly version 1 and REPLY, its payload not yet looked at.
  /// - Throws: ``VhostUserError`` `disconnected`, `timedOut`, `backendFault` or `system`.
  package func ask(
    _ request: FrontendRequest, _ payload: [UInt8] = [], descriptors: [OwnedFD] = [],
    replyDescriptors count: ClosedRange<Int> = 0...0
  ) throws(VhostUserError) -> RawMessage {
    try send(request, payload, descriptors: descriptors)
    return try reply(to: request, descriptors: count)
  }

  /// Asks for a number.
  package func askValue(_ request: FrontendRequest) throws(VhostUserError) -> UInt64 {
    try value(of: try ask(request), to: request)
  }

  /// Sends a request and, if there are acknowledgements, waits for its own.
  ///
  /// - Parameter isAcknowledged: Whether REPLY_ACK was negotiated.
  /// - Throws: ``VhostUserError`` as ``ask(_:_:descriptors:replyDescriptors:)``, and `refused`, after which the connection
  ///   goes on.
  package func tell(
    _ request: FrontendRequest, _ payload: [UInt8] = [], descriptors: [OwnedFD] = [], isAcknowledged: Bool
  ) throws(VhostUserError) {
    try send(request, payload, flags: isAcknowledged ? .needReply : [], descriptors: descriptors)
    guard isAcknowledged else { return }
    let result = try value(of: try reply(to: request), to: request)
    guard result == 0 else {
      throw VhostUserError(.refused, "the back-end answered \(result)").with(request: request.description)
        .with(socket: name)
    }
  }

  /// Takes the reply to a request that was sent.
  package func reply(
    to request: FrontendRequest, descriptors: ClosedRange<Int> = 0...0
  ) throws(VhostUserError) -> RawMessage {
    do throws(VhostUserError) {
      let message = try receive(Deadline(after: timeout))
      guard message.header.request == request.rawValue, message.header.flags == .reply else {
        let flags = String(message.header.flags.rawValue | 1, radix: 16)
        throw VhostUserError(
          .backendFault, "a reply to \(FrontendRequest.name(of: message.header.request)) with flags 0x\(flags) came")
      }
      guard descriptors.contains(message.descriptors.count) else {
        throw VhostUserError(.backendFault, "\(message.descriptors.count) descriptors came with the reply")
      }
      return message
    } catch {
      throw fail(error.with(request: request.description))
    }
  }

  /// The number that a reply is.
  private func value(of reply: RawMessage, to request: FrontendRequest) throws(VhostUserError) -> UInt64 {
    try decode(reply, to: request) { (reader) throws(VhostUserError) in try reader.u64() }
  }

  /// Decodes a reply. One that is malformed is the back-end's fault.
  package func decode<Value>(
    _ reply: RawMessage, to request: FrontendRequest, _ body: (inout WireReader) throws(VhostUserError) -> Value
  ) throws(VhostUserError) -> Value {
    do throws(VhostUserError) {
      var reader = WireReader(reply.payload)
      let value = try body(&reader)
      try reader.finish()
      return value
    } catch {
      throw fail(VhostUserError(.backendFault, "the reply: \(error.message)").with(request: request.description))
    }
  }

  // MARK: The stream

  private func send(_ bytes: [UInt8], _ descriptors: [OwnedFD], _ deadline: Deadline) throws(VhostUserError) {
    var offset = 0
    while offset < bytes.count {
      let socket = try open()
      do throws(Errno) {
        // They go with the first byte.
        offset += try StreamSocket.send(socket, bytes[offset...], descriptors: offset == 0 ? descriptors : [])
      } catch {
        guard error == .wouldBlock else { throw lost(error) }
        try wait(for: POLLOUT, socket, deadline, "the back-end does not read what it is sent")
      }
    }
  }

  /// The next message that comes.
  private func receive(_ deadline: Deadline) throws(VhostUserError) -> RawMessage {
    while true {
      let socket = try open()
      let piece: StreamSocket.Received
      do throws(Errno) {
        piece = try StreamSocket.receive(
          socket, atMost: parser.wanted, descriptors: MessageParser.maximumDescriptors)
      } catch {
        guard error == .wouldBlock else { throw lost(error) }
        try wait(for: POLLIN, socket, deadline, "the back-end does not answer")
        continue
      }
      guard !piece.bytes.isEmpty else { throw lost(nil) }
      guard !piece.truncated else {
        throw VhostUserError(.system, "descriptors of a reply were lost; allow this process more open files")
      }
      do throws(VhostUserError) {
        if let message = try parser.append(piece.bytes, descriptors: piece.descriptors) { return message }
      } catch {
        throw VhostUserError(.backendFault, error.message)
      }
    }
  }

  private func open() throws(VhostUserError) -> OwnedFD {
    guard let socket else { throw VhostUserError(.disconnected, "the connection is closed") }
    return socket
  }

  private func wait(
    for event: CInt, _ socket: OwnedFD, _ deadline: Deadline, _ otherwise: String
  ) throws(VhostUserError) {
    var entry = pollfd(fd: socket.rawValue, events: Int16(event), revents: 0)
    // A signal, or the end of the connection, is seen by the call that comes next.
    guard unsafe poll(&entry, 1, deadline.milliseconds) != 0 || !deadline.hasPassed else {
      throw VhostUserError(.timedOut, otherwise)
    }
  }

  private func lost(_ errno: Errno?) -> VhostUserError {
    let inMessage = parser.isInMessage ? " in the middle of a reply" : ""
    return VhostUserError(.disconnected, "the back-end has closed the connection" + inMessage, errno: errno)
  }

  private func fail(_ error: VhostUserError) -> VhostUserError {
    close()
    return error.with(socket: name)
  }
}
