import CLinux
import Glibc
import SystemPackage
package import VDPA
package import VhostUser
package import Virtio

/// A front-end that sends whatever a test wants, legal or not, and takes what comes back.
package final class RawFrontEnd {
  /// A back-end's answer.
  package struct Answer: Equatable {
    package var request: UInt32
    package var flags: UInt32
    package var payload: [UInt8]

    package init(request: UInt32, flags: UInt32, payload: [UInt8]) {
      (self.request, self.flags, self.payload) = (request, flags, payload)
    }

    /// A number in eight bytes.
    package var value: UInt64? {
      guard payload.count == 8 else { return nil }
      return payload.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
  }

  package private(set) var socket: OwnedFD?
  /// What came with the last answer.
  package private(set) var descriptors: [OwnedFD] = []

  /// Connects; waits while the back-end's queue of clients is full, as connect(2) does.
  package init(path: String) throws {
    let socket = try StreamSocket.make()
    let deadline = ContinuousClock.now + .seconds(10)
    while true {
      do throws(Errno) {
        try StreamSocket.connect(socket, to: path)
        break
      } catch {
        guard error == .wouldBlock, ContinuousClock.now < deadline else { throw error }
        usleep(200)
      }
    }
    self.socket = socket
  }

  /// One end of a pair.
  package init(adopting socket: OwnedFD) { self.socket = socket }

  /// A connected pair of sockets.
  package static func pair() throws -> (OwnedFD, OwnedFD) {
    var (first, second): (CInt, CInt) = (-1, -1)
    let result = unsafe clinux_socketpair(&first, &second)
    guard result == 0 else { throw Errno(rawValue: -result) }
    return (
      OwnedFD(adopting: FileDescriptor(rawValue: first)), OwnedFD(adopting: FileDescriptor(rawValue: second))
    )
  }

  /// Leaves. A child that is being forked at the time may hold a copy of the socket for a moment: so it is shut down.
  package func hangUp() {
    if let socket { StreamSocket.shutDown(socket) }
    socket = nil
  }

  // MARK: Messages

  /// Sends bytes as they are. A back-end that has closed the connection is no error: that is for the test to see.
  package func send(bytes: [UInt8], descriptors: [CInt] = []) {
    guard let socket else { return }
    var offset = 0
    while offset < bytes.count {
      let rest = bytes[offset...]
      // They go with the first byte.
      let attached = offset == 0 ? descriptors : []
      // The pointers live through the call; the counts are theirs.
      let sent = unsafe rest.withUnsafeBytes { buffer in
        unsafe attached.withUnsafeBufferPointer { numbers in
          unsafe clinux_send(
            socket.rawValue, buffer.baseAddress, buffer.count, numbers.baseAddress, CInt(numbers.count))
        }
      }
      if sent == -Int(EAGAIN), hasRoom(socket) { continue }
      guard sent > 0 else { return }
      offset += sent
    }
  }

  /// Waits until the back-end has taken in some of what was sent.
  private func hasRoom(_ socket: OwnedFD) -> Bool {
    var entry = pollfd(fd: socket.rawValue, events: Int16(POLLOUT), revents: 0)
    return unsafe poll(&entry, 1, 10_000) == 1
  }

  package func send(
    _ request: FrontendRequest, _ payload: [UInt8] = [], flags: MessageHeader.Flags = [], descriptors: [CInt] = []
  ) {
    let header = MessageHeader(request: request.rawValue, flags: flags, size: payload.count)
    send(bytes: header.encoded + payload, descriptors: descriptors)
  }

  /// The next answer; nil when the back-end closes the connection instead.
  package func answer() throws -> Answer? {
    descriptors = []
    guard let header = try receive(MessageHeader.byteCount) else { return nil }
    var reader = WireReader(header)
    let (request, flags, size) = (try reader.u32(), try reader.u32(), try reader.u32())
    let payload = try require(try receive(Int(size)), "an answer ends early")
    return Answer(request: request, flags: flags, payload: payload)
  }

  /// Whether the back-end closes the connection, without an answer before.
  package func isClosed() throws -> Bool { try receive(1) == nil }

  private func receive(_ count: Int) throws -> [UInt8]? {
    let socket = try require(socket, "the front-end has hung up already")
    var bytes: [UInt8] = []
    while bytes.count < count {
      try waitForAnswer(socket)
      let piece = try receive(from: socket, atMost: count - bytes.count)
      if piece.isEmpty { return nil }
      bytes += piece
    }
    return bytes
  }

  private func waitForAnswer(_ socket: OwnedFD) throws {
    var entry = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
    let ready = unsafe poll(&entry, 1, 10_000)
    try require(ready == 1, "the back-end neither answers nor closes the connection")
  }

  /// Bytes, or none at the end, which may be a reset when it left something unread.
  private func receive(from socket: OwnedFD, atMost count: Int) throws -> [UInt8] {
    do throws(Errno) {
      let received = try StreamSocket.receive(socket, atMost: count, descriptors: 8)
      descriptors += received.descriptors
      return received.bytes
    } catch {
      guard error == .connectionReset else { throw error }
      return []
    }
  }

  // MARK: Whole exchanges

  /// Asks for a number.
  package func ask(_ request: FrontendRequest) throws -> UInt64 {
    send(request)
    let answer = try require(try answer(), "\(request) closed the connection")
    try require(answer.request == request.rawValue && answer.flags == 5, "\(request) was answered by \(answer)")
    return try require(answer.value, "\(request) was answered by \(answer)")
  }

  /// Sends a message that has to be acknowledged, once REPLY_ACK is negotiated; whether it succeeded.
  package func tell(_ request: FrontendRequest, _ payload: [UInt8] = [], descriptors: [CInt] = []) throws -> Bool {
    send(request, payload, flags: .needReply, descriptors: descriptors)
    let answer = try require(try answer(), "\(request) closed the connection")
    try require(answer.request == request.rawValue && answer.flags == 5, "\(request) was answered by \(answer)")
    return try require(answer.value, "\(request) was answered by \(answer)") == 0
  }

  /// Stops a ring; where it stands.
  package func stop(_ ring: Int) throws -> UInt32 {
    send(.getVringBase, VringStatePayload(index: UInt32(ring)).encoded)
    let answer = try require(try answer(), "GET_VRING_BASE closed the connection")
    let state = try VringStatePayload(decoding: answer.payload)
    try require(state.index == UInt32(ring), "the state of vring \(state.index) for that of \(ring)")
    return state.number
  }

  /// Has a record of the requests in flight made; where it is.
  package func makeInflightRecord(queues: Int, queueSize: Int) throws -> (payload: InflightPayload, file: OwnedFD) {
    send(.getInflightFD, InflightPayload(queues: UInt16(queues), queueSize: UInt16(queueSize)).encoded)
    let answer = try require(try answer(), "GET_INFLIGHT_FD closed the connection")
    let payload = try InflightPayload(decoding: answer.payload)
    return (payload, try require(descriptors.first, "GET_INFLIGHT_FD was answered without a descriptor"))
  }

  /// Gives a record to the back-end; whether it took it.
  package func setInflightRecord(_ payload: InflightPayload, _ file: OwnedFD) throws -> Bool {
    try tell(.setInflightFD, payload.encoded, descriptors: [file.rawValue])
  }

  /// What a front-end settles before rings are set up.
  ///
  /// - Parameter features: What the guest's driver accepts.
  package func negotiate(
    features: Features = [.version1, .netMergeableBuffers],
    protocolFeatures: ProtocolFeatures = [.multiqueue, .replyAck, .memorySlots, .status]
  ) throws {
    let offered = Features(rawValue: try ask(.getFeatures))
    try require(offered.isSuperset(of: features), "of the features only \(offered.bits) are offered")
    send(.setOwner)
    let offeredProtocol = ProtocolFeatures(rawValue: try ask(.getProtocolFeatures))
    try require(offeredProtocol.isSuperset(of: protocolFeatures), "only \(offeredProtocol) are offered")
    send(.setProtocolFeatures, bytes(protocolFeatures.rawValue))
    send(.setFeatures, bytes(features.union(.protocolFeatures).rawValue))
  }
}

/// The bytes of a number on the wire.
package func bytes(_ value: UInt64) -> [UInt8] {
  var writer = WireWriter()
  writer.append(value)
  return writer.bytes
}
