import SystemPackage
package import VDPA

/// One end of a vhost-user channel on an event loop: takes messages off a stream socket and puts answers on it, without
/// ever waiting for the peer.
///
/// Made anywhere; everything else happens on the loop's thread. It lives until it is closed, by either side: then the
/// socket is shut down and let go of, no message is delivered any more, and `onClose` is called once, with the first
/// reason, from a job of its own (never inside a call to this object).
package final class Connection: Sendable {
  /// What one peer may cost.
  package struct Limits: Sendable {
    /// Bytes of answers kept for a peer that does not read.
    package var bytesToSend = 64 << 10
    /// Descriptors kept for such a peer.
    package var descriptorsToSend = 16
    /// recvmsg(2) calls, and so at most messages, before others on the loop have their turn.
    package var receivesPerWake = 32

    package init() {}
  }

  package typealias MessageHandler = @Sendable (RawMessage) -> Void
  package typealias CloseHandler = @Sendable (VhostUserError) -> Void

  private struct Outgoing {
    var rest: ArraySlice<UInt8>
    /// Go with the first byte.
    var descriptors: [OwnedFD]
  }

  private struct State {
    /// Nil once closed.
    var socket: OwnedFD?
    var parser: MessageParser
    var outgoing: [Outgoing] = []
    var isPaused = false
    /// Whether a hang-up is to be noticed although nothing is read.
    var noticesHangUp = false
    var registration: EventLoop.Registration?
    var interest: Epoll.Interest = []
    var onMessage: MessageHandler?
    var onClose: CloseHandler?
  }

  /// The loop on which everything happens.
  package let loop: EventLoop
  private let limits: Limits
  private let state: LoopBound<State>

  /// Takes over a connected socket. Nothing is read before `start`.
  ///
  /// - Parameters:
  ///   - expecting: What the peer sends: requests (to a back-end) or replies (to a front-end).
  package init(
    _ socket: OwnedFD, on loop: EventLoop, expecting: MessageKind = .request, limits: Limits = Limits()
  ) {
    self.loop = loop
    self.limits = limits
    state = LoopBound(State(socket: socket, parser: MessageParser(expecting: expecting)), on: loop)
  }

  /// Begins to deliver messages.
  ///
  /// - Parameters:
  ///   - onMessage: Called once a message, in order. May pause, send and close.
  ///   - onClose: Called once, at the end. Failing to start is an end too.
  package func start(onMessage: @escaping MessageHandler, onClose: @escaping CloseHandler) {
    guard let socket = state.value.socket else { return }
    state.value.onMessage = onMessage
    state.value.onClose = onClose
    do throws(Errno) {
      try StreamSocket.setNonBlocking(socket)
    } catch {
      return close(VhostUserError(.system, "the socket cannot be made non-blocking", errno: error))
    }
    flush()
  }

  /// Whether it has ended; nothing is delivered or sent any more.
  package var isClosed: Bool { state.value.socket == nil }

  /// Whether the peer has closed its end, even if there are messages of it that have not been read yet.
  package var isHungUp: Bool {
    guard let socket = state.value.socket else { return true }
    return StreamSocket.isHungUp(socket)
  }

  /// Whether something waits for the peer to read.
  package var isBlocked: Bool { !state.value.outgoing.isEmpty }

  /// Delivers no further message until `resumeReading`. That the peer has gone is not noticed meanwhile, unless there
  /// is something to send.
  ///
  /// - Parameter noticingHangUp: Whether it is to be noticed, for somebody waits for the peer in another way. What it sent
  ///   before is then lost.
  package func pauseReading(noticingHangUp: Bool = false) {
    state.value.isPaused = true
    state.value.noticesHangUp = noticingHangUp
    updateInterest()
  }

  /// Delivers messages again.
  package func resumeReading() {
    state.value.isPaused = false
    state.value.noticesHangUp = false
    updateInterest()
  }

  /// Sends bytes, now or as soon as the peer has read what came before. Closed meanwhile: they are dropped.
  ///
  /// A peer that leaves more unread than `limits` allow is disconnected.
  ///
  /// - Parameters:
  ///   - bytes: A whole message; not empty.
  ///   - descriptors: Go with the first byte; at most 8.
  package func send(_ bytes: [UInt8], descriptors: [OwnedFD] = []) {
    precondition(!bytes.isEmpty && descriptors.count <= MessageParser.maximumDescriptors)
    guard !isClosed else { return }
    state.value.outgoing.append(Outgoing(rest: bytes[...], descriptors: descriptors))
    flush()
    let bytes = state.value.outgoing.reduce(0) { $0 + $1.rest.count }
    let descriptors = state.value.outgoing.reduce(0) { $0 + $1.descriptors.count }
    if bytes > limits.bytesToSend || descriptors > limits.descriptorsToSend {
      close(VhostUserError(.budget, "the peer leaves its answers unread: \(bytes) bytes, \(descriptors) descriptors"))
    }
  }

  /// Ends the connection. What has not been sent yet is dropped. Closing again does nothing. Before `start` there is
  /// nobody to tell, and a later `start` does nothing.
  package func close(_ reason: VhostUserError) {
    guard let socket = state.value.socket else { return }
    if let registration = state.value.registration { loop.cancel(registration) }
    StreamSocket.shutDown(socket)
    let onClose = state.value.onClose
    state.value = State(parser: MessageParser(expecting: .request))
    if let onClose {
      loop.run { onClose(reason) }
    }
  }

  // MARK: Events

  private func ready() {
    flush()
    if state.value.isPaused && state.value.noticesHangUp && isHungUp { return close(gone(nil)) }
    receive()
  }

  /// Takes messages off the socket, but not so many that the loop's other sockets have to wait: what is left makes the
  /// socket ready again in the loop's next turn.
  private func receive() {
    for _ in 0..<limits.receivesPerWake {
      guard let socket = state.value.socket, let onMessage = state.value.onMessage, !state.value.isPaused else {
        return
      }
      let received: StreamSocket.Received
      do throws(Errno) {
        received = try StreamSocket.receive(
          socket, atMost: state.value.parser.wanted, descriptors: MessageParser.maximumDescriptors)
      } catch {
        return error == .wouldBlock ? () : close(gone(error))
      }
      guard !received.bytes.isEmpty else { return close(gone(nil)) }
      do throws(VhostUserError) {
        if received.truncated { throw lost(received) }
        guard let message = try state.value.parser.append(received.bytes, descriptors: received.descriptors) else {
          continue
        }
        onMessage(message)
      } catch {
        return close(error)
      }
    }
  }

  /// Sends what the peer has room for. Before `start` nothing is sent: the socket might block.
  private func flush() {
    guard state.value.onMessage != nil else { return }
    while let socket = state.value.socket, let next = state.value.outgoing.first {
      do throws(Errno) {
        let sent = try StreamSocket.send(socket, next.rest, descriptors: next.descriptors)
        if sent == next.rest.count {
          state.value.outgoing.removeFirst()
        } else {
          state.value.outgoing[0] = Outgoing(rest: next.rest.dropFirst(sent), descriptors: [])
        }
      } catch {
        if error != .wouldBlock { return close(gone(error)) }
        break
      }
    }
    updateInterest()
  }

  /// Makes the loop watch for what is of interest. For nothing at all it does not watch: a hang-up is reported whether
  /// wanted or not, so that a paused connection whose peer has gone would keep the loop spinning.
  private func updateInterest() {
    guard let socket = state.value.socket, state.value.onMessage != nil else { return }
    var wanted: Epoll.Interest = state.value.isPaused ? [] : .readable
    if !state.value.outgoing.isEmpty { wanted.insert(.writable) }
    // Hang-ups are reported whatever is asked for; once, so that the loop does not spin.
    if wanted.isEmpty && state.value.noticesHangUp { wanted = .edgeTriggered }
    guard wanted != state.value.interest else { return }
    state.value.interest = wanted
    do throws(Errno) {
      switch state.value.registration {
      case let registration? where wanted.isEmpty:
        loop.cancel(registration)
        state.value.registration = nil
      case let registration?:
        try loop.change(registration, to: wanted)
      case nil:
        state.value.registration = try loop.watch(socket, wanted) { [self] _ in ready() }
      }
    } catch {
      close(VhostUserError(.system, "the socket cannot be watched", errno: error))
    }
  }

  // MARK: Reasons

  private func gone(_ errno: Errno?) -> VhostUserError {
    let inMessage = state.value.parser.isInMessage ? " in the middle of a message" : ""
    return VhostUserError(.disconnected, "the peer has closed the connection" + inMessage, errno: errno)
  }

  private func lost(_ received: StreamSocket.Received) -> VhostUserError {
    let limit = MessageParser.maximumDescriptors
    if received.descriptors.count < limit {
      return VhostUserError(
        .system, "descriptors of a message were lost; allow this process more open files", errno: .tooManyOpenFiles)
    }
    return VhostUserError(.tooManyDescriptors, "more than \(limit) descriptors with one message")
  }
}
