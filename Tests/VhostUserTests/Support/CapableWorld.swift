import Datapath
import FrontEndTestSupport
import Glibc
import Logging
import SystemPackage
import VDPA
import Virtio

@testable import VhostUser

/// A socket bound to a device with every capability, and a front-end.
final class CapableWorld {
  let engine: CapableEngine
  let software: SoftwareEngine
  let threads: SessionThreads
  let socket: VhostUserSocket
  let frontEnd: RawFrontEnd
  let guest: Guest
  private let folder = TemporaryFolder()

  static let protocolFeatures: ProtocolFeatures = [
    .multiqueue, .replyAck, .memorySlots, .status, .backendRequests, .backendSendFD, .hostNotifier, .configuration,
    .mtu,
    .rarp, .resetDevice, .sharedObject, .deviceState,
  ]

  /// - Parameters:
  ///   - enabled: What the socket offers that is not offered by itself.
  ///   - negotiated: What the front-end accepts of the protocol; nil for one that only connects.
  ///   - running: Whether it does all up to running rings.
  init(
    enabling enabled: ProtocolFeatures = [], negotiating negotiated: ProtocolFeatures? = CapableWorld.protocolFeatures,
    running: Bool = true
  ) throws {
    engine = try CapableEngine()
    software = try SoftwareEngine()
    threads = try SessionThreads()
    let registry = Registry(software: software)
    try registry.register(engine)
    let handle = try registry.addEngine(driver: "capable", at: EngineAddress("nowhere"))
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let path = folder.path("vm0.sock")
    socket = VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: path)), registry: registry, threads: threads, logger: logger)
    try socket.bind(DeviceHandle(engine: handle, device: 0))
    try socket.enableProtocolFeatures(enabled)
    try socket.start()
    guest = try Guest()
    frontEnd = try RawFrontEnd(path: path)
    guard let negotiated else { return }
    try frontEnd.negotiate(protocolFeatures: negotiated)
    if running { try run() }
  }

  /// Shares memory and starts the rings.
  func run() throws {
    guest.share(with: frontEnd)
    for ring in guest.rings { guest.start(ring, with: frontEnd) }
    frontEnd.send(.setStatus, bytes(0x0f))
    try settle()
  }

  /// An answer means that all before has been served.
  func settle() throws { _ = try frontEnd.ask(.getStatus) }

  /// Gives the back-end a back-channel; the other end.
  func openBackChannel() throws -> BackChannelPeer {
    let (own, theirs) = try RawFrontEnd.pair()
    guard try frontEnd.tell(.setBackendRequestFD, descriptors: [theirs.rawValue]) else {
      throw FrontEndError("the back-channel was refused")
    }
    return BackChannelPeer(own)
  }

  deinit {
    frontEnd.hangUp()
    socket.stop()
    threads.stop()
    software.stop()
  }
}

struct FrontEndError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// The front-end's end of a back-channel.
final class BackChannelPeer {
  let socket: OwnedFD
  private var parser = MessageParser(expecting: .request)

  init(_ socket: OwnedFD) { self.socket = socket }

  /// The next request; nil when none comes in that many milliseconds, or the channel has ended.
  func next(within milliseconds: CInt = 10_000) throws -> (message: BackendMessage, header: MessageHeader)? {
    while true {
      var entry = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
      guard unsafe poll(&entry, 1, milliseconds) == 1 else { return nil }
      let received = try StreamSocket.receive(socket, atMost: parser.wanted, descriptors: 8)
      if received.bytes.isEmpty { return nil }
      if let message = try parser.append(received.bytes, descriptors: received.descriptors) {
        return (try BackendMessage.decode(message), message.header)
      }
    }
  }

  /// Answers a request.
  func answer(_ header: MessageHeader, _ value: UInt64, descriptors: [OwnedFD] = []) throws {
    _ = try StreamSocket.send(socket, Reply.value(value, to: header).encoded[...], descriptors: descriptors)
  }
}
