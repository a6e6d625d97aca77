import Glibc
import SystemPackage
import Testing
import VDPA
import VhostUser

/// A connection whose peer does anything but what it should: each time an error that names request and reason, in time.
struct FrontendConnectionTests {
  private static let soon = Duration.milliseconds(50)

  /// A connection to a peer that has said what it will say.
  private func connection(to said: [UInt8] = [], _ descriptors: [OwnedFD] = []) throws -> (FrontendConnection, OwnedFD)
  {
    let (own, peer) = try ConnectionHarness.pair()
    if !said.isEmpty { #expect(try StreamSocket.send(peer, said[...], descriptors: descriptors) == said.count) }
    return (try FrontendConnection(adopting: own, name: "vm0", timeout: Self.soon), peer)
  }

  private func fails(
    _ code: VhostUserError.Code, _ text: String, _ body: () throws -> Void,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: VhostUserError.self, sourceLocation: sourceLocation) { try body() }
    #expect(error?.code == code, sourceLocation: sourceLocation)
    #expect(error?.description.contains(text) == true, "\(error?.description ?? "")", sourceLocation: sourceLocation)
  }

  private func reply(_ request: FrontendRequest, flags: UInt32 = 5, _ payload: [UInt8]) -> [UInt8] {
    u32(request.rawValue, flags, UInt32(payload.count)) + payload
  }

  // MARK: Connecting

  @Test("A path that nobody listens at, or that is none, is refused by name")
  func nobody() throws {
    let folder = TemporaryFolder()
    fails(.badPath, "none: no back-end listens") { _ = try FrontendConnection(path: folder.path("none")) }
    let (socket, file) = try SocketFile.listen(at: folder.path("left"))
    StreamSocket.shutDown(socket)
    fails(.badPath, "left: no back-end listens") { _ = try FrontendConnection(path: file.path) }
    fails(.badPath, "107 is the most") { _ = try FrontendConnection(path: String(repeating: "x", count: 108)) }
    fails(.badPath, "empty or contains a NUL") { _ = try FrontendConnection(path: "") }
    fails(.badPath, "empty or contains a NUL") { _ = try FrontendConnection(path: "a\0b") }
    fails(.badPath, "no connection can be made") { _ = try FrontendConnection(path: "/proc/self/exe/x") }
    fails(.timedOut, "no back-end has come to listen") {
      _ = try FrontendConnection(path: folder.path("none"), timeout: Self.soon, waitsForListener: true)
    }
  }

  @Test("A back-end that comes later is waited for, if that is wanted")
  func later() throws {
    let folder = TemporaryFolder()
    let path = folder.path("s")
    let thread = try PinnedThread(name: "later") {
      usleep(30_000)
      if let (socket, _) = try? SocketFile.listen(at: path) {
        usleep(200_000)
        withExtendedLifetime(socket) {}
      }
    }
    #expect(try FrontendConnection(path: path, waitsForListener: true).isConnected)
    thread.join()
  }

  @Test("A back-end that takes no connections is given up")
  func full() throws {
    let folder = TemporaryFolder()
    let (socket, file) = try SocketFile.listen(at: folder.path("s"))
    var queue: [FrontendConnection] = []
    fails(.timedOut, "the back-end takes no connection") {
      while queue.count < 1000 { queue.append(try FrontendConnection(path: file.path, timeout: Self.soon)) }
    }
    withExtendedLifetime((socket, queue)) {}
  }

  @Test("Only a connected Unix stream socket can be taken over")
  func adopting() throws {
    let folder = TemporaryFolder()
    let (listening, _) = try SocketFile.listen(at: folder.path("s"))
    fails(.wrongDescriptor, "listens") { _ = try FrontendConnection(adopting: listening, name: "vm0") }
    fails(.wrongDescriptor, "not a Unix stream socket") {
      _ = try FrontendConnection(adopting: try EventFD.make(), name: "vm0")
    }
  }

  // MARK: Replies

  @Test("A number is read from a reply that is right, in however many pieces it comes")
  func right() throws {
    let bytes = reply(.getFeatures, u64(0x1234_5678_9abc_def0))
    for cut in 1..<bytes.count {
      let (connection, peer) = try connection(to: Array(bytes[..<cut]))
      let rest = bytes[cut...]
      let thread = try PinnedThread(name: "rest") { _ = try? StreamSocket.send(peer, rest, descriptors: []) }
      #expect(try connection.askValue(.getFeatures) == 0x1234_5678_9abc_def0)
      thread.join()
      #expect(connection.isConnected)
    }
  }

  @Test("A reply to another request, or with any other flags than version 1 and REPLY, is the back-end's fault")
  func wrongHeader() throws {
    let value = u64(0)
    for (said, text) in [
      (reply(.setOwner, value), "GET_FEATURES (1): a reply to SET_OWNER (3) with flags 0x5 came"),
      (reply(.getFeatures, flags: 1, value), "a request where a reply is due"),
      (reply(.getFeatures, flags: 4, value), "protocol version 0"),
      (reply(.getFeatures, flags: 6, value), "protocol version 2"),
      (reply(.getFeatures, flags: 0xd, value), "with flags 0xd came"),
      (reply(.getFeatures, flags: 0x15, value), "reserved header flags"),
      (u32(1, 5, 4097), "4097 bytes"), (u32(1, 5, .max), "4294967295 bytes"),
      (reply(.getFeatures, []), "ends 8 bytes early"), (reply(.getFeatures, value + [0]), "1 bytes too many"),
    ] {
      let (connection, peer) = try connection(to: said)
      fails(.backendFault, text) { _ = try connection.askValue(.getFeatures) }
      // What comes next on this stream nobody knows.
      #expect(!connection.isConnected && StreamSocket.isHungUp(peer))
      fails(.disconnected, "vm0: SET_OWNER (3): the connection is closed") { try connection.send(.setOwner) }
    }
  }

  @Test("Descriptors come with a reply that has some, and with no other")
  func descriptors() throws {
    let files = try (0..<2).map { _ in try EventFD.make() }
    let (first, peer) = try connection(to: reply(.getInflightFD, u64(1)), [files[0]])
    let answer = try first.ask(.getInflightFD, replyDescriptors: 1...1)
    #expect(answer.descriptors.count == 1 && answer.descriptors[0].isEventFD)
    withExtendedLifetime(peer) {}
    for (count, legal) in [(0, 1...1), (1, 0...0), (2, 0...1)] {
      let (connection, peer) = try connection(to: reply(.getFeatures, u64(1)), Array(files[..<count]))
      fails(.backendFault, "\(count) descriptors came with the reply") {
        _ = try connection.ask(.getFeatures, replyDescriptors: legal)
      }
      withExtendedLifetime(peer) {}
    }
  }

  @Test("An acknowledgement is 0, or the request was refused and the connection goes on")
  func acknowledgement() throws {
    let said = reply(.setOwner, u64(0)) + reply(.setFeatures, u64(1)) + reply(.setVringNum, u64(.max))
    let (connection, peer) = try connection(to: said)
    try connection.tell(.setOwner, isAcknowledged: true)
    fails(.refused, "vm0: SET_FEATURES (2): the back-end answered 1; the back-end's log says why") {
      try connection.tell(.setFeatures, u64(7), isAcknowledged: true)
    }
    fails(.refused, "SET_VRING_NUM (8)") { try connection.tell(.setVringNum, u64(7), isAcknowledged: true) }
    #expect(connection.isConnected)
    let sent = try StreamSocket.receive(peer, atMost: 4096, descriptors: 0).bytes
    #expect(
      sent == wire(.setOwner, flags: .needReply) + wire(.setFeatures, flags: .needReply, u64(7))
        + wire(.setVringNum, flags: .needReply, u64(7)))
  }

  @Test("Without acknowledgements nothing is waited for")
  func unacknowledged() throws {
    let (connection, peer) = try connection()
    try connection.tell(.setOwner, isAcknowledged: false)
    #expect(try StreamSocket.receive(peer, atMost: 4096, descriptors: 0).bytes == wire(.setOwner))
  }

  // MARK: Peers that are stuck or gone

  @Test("A back-end that says nothing, or half of it, is given up in time")
  func silent() throws {
    let bytes = reply(.getFeatures, u64(0))
    for count in [0, 1, 11, 12, 19] {
      let (connection, peer) = try connection(to: Array(bytes[..<count]))
      fails(.timedOut, "vm0: GET_FEATURES (1): the back-end does not answer") {
        _ = try connection.askValue(.getFeatures)
      }
      #expect(!connection.isConnected)
      withExtendedLifetime(peer) {}
    }
  }

  @Test("A back-end that reads nothing is given up in time")
  func deaf() throws {
    let (connection, peer) = try connection()
    fails(.timedOut, "SET_CONFIG (25): the back-end does not read what it is sent") {
      for _ in 0..<10_000 { try connection.send(.setConfiguration, Array(repeating: 0, count: 4096)) }
    }
    withExtendedLifetime(peer) {}
  }

  @Test("A back-end that goes is seen, also in the middle of a reply")
  func gone() throws {
    let bytes = reply(.getFeatures, u64(0))
    for count in 0..<bytes.count {
      let (connection, peer) = try connection(to: Array(bytes[..<count]))
      #expect(connection.isConnected)
      StreamSocket.shutDown(peer)
      #expect(!connection.isConnected)
      fails(.disconnected, "GET_FEATURES (1): the back-end has closed the connection") {
        _ = try connection.askValue(.getFeatures)
      }
    }
  }
}
