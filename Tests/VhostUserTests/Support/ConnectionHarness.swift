import Glibc
import SystemPackage
import VDPA
import VhostUser

/// A started connection and the raw socket of its peer.
final class ConnectionHarness {
  enum Event: Sendable {
    case message(RawMessage)
    case closed(VhostUserError)
  }

  let loop: EventLoop
  let connection: Connection
  /// The other end.
  private(set) var peer: OwnedFD?
  /// The connection's own descriptor number.
  let number: CInt
  private var events: AsyncStream<Event>.Iterator

  /// - Parameter onMessage: Called for each message before it becomes an event.
  init(
    expecting: MessageKind = .request, loop: EventLoop? = nil,
    onMessage: @escaping @Sendable (Connection, RawMessage) -> Void = { _, _ in }
  ) async throws {
    let loop = try loop ?? EventLoop(name: "test")
    self.loop = loop
    let (own, other) = try ConnectionHarness.pair()
    number = own.rawValue
    peer = other
    let connection = Connection(own, on: loop, expecting: expecting)
    self.connection = connection
    let (stream, continuation) = AsyncStream.makeStream(of: Event.self)
    events = stream.makeAsyncIterator()
    await loop.perform {
      connection.start { message in
        onMessage(connection, message)
        continuation.yield(.message(message))
      } onClose: { reason in
        continuation.yield(.closed(reason))
        continuation.finish()
      }
    }
  }

  /// Two connected stream sockets.
  static func pair() throws -> (OwnedFD, OwnedFD) {
    var numbers: (CInt, CInt) = (-1, -1)
    let result = unsafe withUnsafeMutableBytes(of: &numbers) { bytes in
      unsafe socketpair(
        AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0,
        bytes.assumingMemoryBound(to: CInt.self).baseAddress)
    }
    guard result == 0 else { throw Errno(rawValue: errno) }
    return (
      OwnedFD(adopting: FileDescriptor(rawValue: numbers.0)), OwnedFD(adopting: FileDescriptor(rawValue: numbers.1))
    )
  }

  /// What happens next; nil after the connection's end.
  func next() async -> Event? { await events.next() }

  /// The next message; nil when the connection ends instead.
  func message() async -> RawMessage? {
    if case .message(let message) = await next() { message } else { nil }
  }

  /// Why it ends; passes over messages.
  func reason() async -> VhostUserError? {
    while let event = await next() {
      if case .closed(let reason) = event { return reason }
    }
    return nil
  }

  /// Sends from the peer's side; all of it.
  func write(_ bytes: [UInt8], descriptors: [OwnedFD] = []) throws {
    guard let peer else { throw Errno.badFileDescriptor }
    var (rest, attached) = (bytes[...], descriptors)
    while !rest.isEmpty {
      waitFor(peer, POLLOUT)
      rest = rest.dropFirst(try StreamSocket.send(peer, rest, descriptors: attached))
      attached = []
    }
  }

  /// Reads on the peer's side until there are `count` bytes or the stream ends.
  func read(_ count: Int) throws -> (bytes: [UInt8], descriptors: [OwnedFD]) {
    guard let peer else { throw Errno.badFileDescriptor }
    var result: (bytes: [UInt8], descriptors: [OwnedFD]) = ([], [])
    while result.bytes.count < count {
      waitFor(peer, POLLIN)
      let piece = try StreamSocket.receive(peer, atMost: count - result.bytes.count, descriptors: 16)
      if piece.bytes.isEmpty { break }
      result.bytes += piece.bytes
      result.descriptors += piece.descriptors
    }
    return result
  }

  /// Waits until the peer's side can be read or written.
  private func waitFor(_ peer: OwnedFD, _ event: CInt) {
    var entry = pollfd(fd: peer.rawValue, events: Int16(event), revents: 0)
    _ = unsafe poll(&entry, 1, -1)
  }

  /// Closes the peer's side.
  func hangUp() { peer = nil }

  /// Ends everything. Call it at the end of each test.
  func finish() async {
    let connection = connection
    await loop.perform { connection.close(VhostUserError(.stopped, "the test is over")) }
    loop.stop()
  }
}
