import Glibc
import Synchronization
import SystemPackage
import VDPA
import VhostUser

/// A back-end that answers what a script says and does nothing.
final class ScriptedBackend: Sendable {
  private let own: Mutex<OwnedFD?>
  private let peer: OwnedFD
  private let thread = Mutex<PinnedThread?>(nil)
  private let seen = Mutex<[(request: FrontendRequest, files: [String])]>([])

  /// - Parameters:
  ///   - answer: The number that a request is answered with; nil for none.
  ///   - position: What GET_VRING_BASE is answered with.
  ///   - inflight: What GET_INFLIGHT_FD is answered with.
  init(
    _ answer: @escaping @Sendable (FrontendRequest, [UInt8]) -> UInt64?, position: VringStatePayload? = nil,
    inflight: (payload: InflightPayload, files: [OwnedFD])? = nil
  ) throws {
    let (own, peer) = try ConnectionHarness.pair()
    self.own = Mutex(own)
    self.peer = peer
    let running = try PinnedThread(name: "script") { [self] in
      var parser = MessageParser(expecting: .request)
      // It ends when the other end is closed.
      while ScriptedBackend.waitForMore(peer),
        let piece = try? StreamSocket.receive(peer, atMost: parser.wanted, descriptors: 8), !piece.bytes.isEmpty
      {
        guard let message = try? parser.append(piece.bytes, descriptors: piece.descriptors),
          let request = FrontendRequest(rawValue: message.header.request)
        else { continue }
        seen.withLock { $0.append((request, message.descriptors.map(\.kernelName))) }
        let reply: Reply? =
          if request == .getVringBase, let position {
            Reply(to: message.header, payload: position.encoded)
          } else if request == .getInflightFD, let inflight {
            Reply(to: message.header, payload: inflight.payload.encoded, descriptors: inflight.files)
          } else {
            answer(request, message.payload).map { .value($0, to: message.header) }
          }
        if let reply { _ = try? StreamSocket.send(peer, reply.encoded[...], descriptors: reply.descriptors) }
      }
    }
    thread.withLock { $0 = running }
  }

  private static func waitForMore(_ socket: OwnedFD) -> Bool {
    var entry = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&entry, 1, -1) == 1
  }

  deinit { StreamSocket.shutDown(peer) }

  /// What has come so far.
  var requests: [FrontendRequest] { seen.withLock { $0.map(\.request) } }

  /// The kernel's names of the files that came with the requests of a kind.
  func files(with request: FrontendRequest) -> [String] {
    seen.withLock { $0.filter { $0.request == request }.flatMap(\.files) }
  }

  /// The connection to it; once.
  func connect() throws -> FrontendConnection {
    guard let socket = own.withLock({ $0.take() }) else { throw Errno.badFileDescriptor }
    return try FrontendConnection(adopting: socket, name: "script")
  }
}
