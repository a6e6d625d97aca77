import VDPA

/// The socket on which a back-end sends requests of its own (vhost-user, Back-end communication).
///
/// Lives on the session's loop, and never waits: what is sent is answered later or not at all. An end of the channel is no
/// end of the session.
final class BackChannel: Sendable {
  /// What has become of a request, on the loop's thread: its answer, or nil when it could not be sent, or the channel has
  /// ended before there was one.
  typealias Completion = @Sendable (RawMessage?) -> Void

  private struct Waiting {
    let request: UInt32
    let completion: Completion
  }

  private struct State {
    var waiting: [Waiting] = []
  }

  /// How many answers may be outstanding.
  private static let most = 1024

  private let connection: Connection
  private let log: LimitedLogger
  private let state: LoopBound<State>

  init(_ socket: OwnedFD, on loop: EventLoop, log: LimitedLogger) {
    connection = Connection(socket, on: loop, expecting: .reply)
    self.log = log
    state = LoopBound(State(), on: loop)
  }

  /// Begins to send.
  func start() {
    connection.start(
      onMessage: { [self] in take($0) },
      onClose: { [self] reason in
        log.debug("the back-channel has ended: \(reason.message)")
        giveUp()
      })
  }

  /// Ends the channel.
  func close() {
    connection.close(VhostUserError(.stopped, "the session has ended, or another back-channel took its place"))
    giveUp()
  }

  /// Sends a request.
  ///
  /// - Parameter completion: nil when no answer is wanted.
  func send(_ message: BackendMessage, completion: Completion? = nil) {
    guard !connection.isClosed, state.value.waiting.count < BackChannel.most else {
      if !connection.isClosed { log.warning("\(message.request) is not sent: too many answers are outstanding") }
      completion?(nil)
      return
    }
    log.trace("\(message.request)")
    if let completion {
      state.value.waiting.append(Waiting(request: message.request.rawValue, completion: completion))
    }
    connection.send(message.encoded(needsReply: completion != nil), descriptors: message.descriptors)
  }

  private func take(_ message: RawMessage) {
    guard let next = state.value.waiting.first, next.request == message.header.request else {
      return connection.close(
        VhostUserError(
          .malformed, "an answer to \(BackendRequest.name(of: message.header.request)), which was not asked"))
    }
    state.value.waiting.removeFirst()
    next.completion(message)
  }

  private func giveUp() {
    let waiting = state.value.waiting
    state.value.waiting = []
    for one in waiting { one.completion(nil) }
  }
}
