import VDPA
import Virtio

/// One front-end's connection: takes its messages in, drives the device by them, and answers.
///
/// Lives on an event loop. While the device is busy with an operation no further message is read, so messages are served
/// strictly one after the other whatever thread the device runs on.
final class Session: Sendable {
  struct State {
    var protocolState: SessionState
    /// What serves the rings, or will.
    var device: DeviceContext
    /// Hand-overs that were asked for and have not begun.
    var switches: [DeviceSwitch] = []
    /// The device that is taking over just now, and what it has reported before that was known to be over.
    var successor: DeviceContext?
    var earlyReports: [DeviceReport] = []
    /// Whether the device has been configured and not been closed since.
    var isConfigured = false
    /// Whether an operation of the device is under way.
    var isBusy = false
    /// Why the connection ended, once it has.
    var end: VhostUserError?
    /// Why the device does not serve although nothing is missing.
    var failure: String?
    /// Whether the end has been told.
    var isOver = false
    /// Where requests of this side go (SET_BACKEND_REQ_FD).
    var backChannel: BackChannel?
    /// How often doorbells were taken back: one that was found before that is nobody's any more.
    var doorbellWithdrawals = 0
    /// What rings wait for behind the guest's IOMMU.
    var misses = TranslationMisses()
    /// Whether the front-end is going to be asked again.
    var isAskingAgain = false
    /// Whether it was said that the front-end cannot be asked.
    var isLackOfBackChannelSaid = false
    /// The internal call descriptors that are watched, by vring.
    var inbandCalls: [Int: (call: OwnedFD, registration: EventLoop.Registration)] = [:]
    /// The move of the device's own state that is under way, or has ended and was not asked for.
    var transfer: StatePipe?
    /// Whether the device has served the rings at any time.
    var wasReady = false
    /// Whether its device makes progress.
    var stalls = Stalls()
    /// Whether another device is going to take over from one that has failed.
    var isFailingOver = false
    /// Whether the guest's address is to be announced as soon as the device serves the rings.
    var isToBeAnnounced = false
  }

  let name: String
  let connection: Connection
  let loop: EventLoop
  let log: LimitedLogger
  let state: LoopBound<State>
  let handlers: SessionHandlers

  /// A session over a connection that has not been started.
  ///
  /// - Parameter log: The socket's: a front-end that comes again and again has one budget.
  init(
    name: String, connection: Connection, device: DeviceContext, offer: SessionOffer, log: LimitedLogger,
    handlers: SessionHandlers
  ) {
    self.name = name
    self.connection = connection
    self.handlers = handlers
    loop = connection.loop
    self.log = log
    state = LoopBound(State(protocolState: SessionState(offer: offer), device: device), on: connection.loop)
  }

  /// Begins to serve. On the loop's thread.
  func start() {
    connection.start(
      onMessage: { [self] in receive($0) },
      onClose: { [self] in closed($0) })
    watchStalls()
  }

  /// Ends the connection; the end handler is called when the device is closed. On the loop's thread.
  func stop(_ reason: VhostUserError) { connection.close(reason) }

  /// What serves the rings, or will.
  var device: DeviceContext { state.value.device }

  /// Whether writes to guest memory are noted.
  var isLogging: Bool { state.value.protocolState.activeLog != nil }

  /// Whether the device serves the rings.
  var isReady: Bool { state.value.isConfigured }

  /// Whether the device has served the rings at any time.
  var wasReady: Bool { state.value.wasReady }

  /// What is missing before the device serves the rings, in words; nil when it does.
  var notReadyReason: String? {
    if state.value.isConfigured { return nil }
    return state.value.failure ?? state.value.protocolState.missing ?? "the device is being configured"
  }

  /// Whether the connection has ended or the front-end has hung up, so that another one may come.
  var isEnding: Bool { state.value.end != nil || connection.isHungUp }

  func emit(_ event: SocketEvent) { handlers.event(event) }
  func onChange() { handlers.change() }

  // MARK: Messages

  private func receive(_ message: RawMessage) {
    let header = message.header
    do throws(VhostUserError) {
      let rule = try RequestRule.rule(for: header)
      let protocolState = state.value.protocolState
      try rule.check(
        offered: protocolState.offer.wireFeatures, accepted: protocolState.accepted ?? [],
        protocolFeatures: protocolState.protocolFeatures)
      let decoded = try rule.decode(message)
      do throws(VhostUserError) {
        let action = try state.value.protocolState.apply(decoded)
        log.trace("\(rule.request)")
        perform(action, before: protocolState) { [self] result in answer(result, to: header, rule) }
      } catch {
        throw error.with(request: rule.request.description)
      }
    } catch {
      refuse(error, header)
    }
  }

  /// Says no to a message: with an answer where the front-end waits for one, else by ending the connection.
  private func refuse(_ cause: VhostUserError, _ header: MessageHeader) {
    log.warning("\(cause)")
    let error = cause.with(socket: name)
    emit(.refused(error))
    let answer = (try? RequestRule.rule(for: header))?.answer ?? .acknowledgement
    let isAwaited =
      header.flags.contains(.needReply) && state.value.protocolState.protocolFeatures.contains(.replyAck)
    switch answer {
    case .acknowledgement where isAwaited, .result:
      connection.send(Reply.acknowledgement(success: false, to: header).encoded)
    case .configuration:
      connection.send(Reply(to: header).encoded)
    default:
      connection.close(error)
    }
    onChange()
  }

  /// What a message results in.
  enum Outcome: Sendable {
    case success
    /// An answer that is always wanted.
    case payload([UInt8], descriptors: [OwnedFD])
    case failure(VhostUserError)

    var isSuccess: Bool { if case .success = self { true } else { false } }

    static func value(_ value: UInt64) -> Outcome {
      var writer = WireWriter()
      writer.append(value)
      return .payload(writer.bytes, descriptors: [])
    }

    static func payload(_ payload: some Payload, descriptors: [OwnedFD] = []) -> Outcome {
      .payload(payload.encoded, descriptors: descriptors)
    }
  }

  private func answer(_ outcome: Outcome, to header: MessageHeader, _ rule: RequestRule) {
    // First, so that who has the answer finds the device ready, unless that takes its time.
    configureIfReady()
    onChange()
    switch outcome {
    case .payload(let payload, let descriptors):
      connection.send(Reply(to: header, payload: payload).encoded, descriptors: descriptors)
    case .failure(let error): refuse(error.with(request: rule.request.description), header)
    case .success:
      if rule.wantsAnswer(header, protocolFeatures: state.value.protocolState.protocolFeatures) {
        connection.send(Reply.acknowledgement(success: true, to: header).encoded)
      }
    }
    askForTranslations()
  }

  // MARK: Device operations

  /// Runs an operation of the device; nothing else happens in this session until it is over.
  ///
  /// - Parameters:
  ///   - operation: Calls the device, with the completion that it is given.
  ///   - then: Called on the loop's thread.
  func run<Value: Sendable>(
    _ operation: (@escaping DeviceContext.Completion<Value>) -> Void,
    then: @escaping @Sendable (Result<Value, VDPAError>) -> Void
  ) {
    state.value.isBusy = true
    let loop = loop
    let finish: @Sendable (Result<Value, VDPAError>) -> Void = { [self] result in
      state.value.isBusy = false
      then(result)
      // What follows may have started the next operation.
      if !state.value.isBusy { idle() }
    }
    operation { result in
      if loop.isCurrent { finish(result) } else { loop.run { finish(result) } }
    }
    if state.value.isBusy && state.value.end == nil {
      // The operation may wait for a page that only the front-end can bring.
      connection.pauseReading(noticingHangUp: state.value.protocolState.isArriving)
    }
  }

  func idle() {
    if state.value.end != nil { return finish() }
    // Of a device that has failed nobody takes over before it is closed.
    if closeFailedDevice() || beginSwitch() { return }
    connection.resumeReading()
    askForTranslations()
  }

  /// Configures the device as soon as everything is there.
  func configureIfReady() {
    let current = state.value
    guard !current.isConfigured, !current.isBusy, current.end == nil, current.failure == nil,
      current.protocolState.missing == nil
    else { return }
    let setup = current.protocolState.setup(observer: SessionObserver(self, device))
    run {
      device.configure(setup, completion: $0)
    } then: { [self] result in
      switch result {
      case .success:
        state.value.isConfigured = true
        offerDoorbells()
        watchInbandCalls()
        state.value.wasReady = true
        log.info("ready: \(device.handle) (\(device.driver)) serves \(setup.vrings.count) vrings")
        emit(.ready)
        if state.value.isToBeAnnounced { announceGuest() }
      case .failure(let error):
        take(StoppedRings(states: error.states))
        deviceFailed(error)
      }
    }
  }

  // MARK: The end

  private func closed(_ reason: VhostUserError) {
    guard state.value.end == nil else { return }
    state.value.end = reason.with(socket: name)
    // The operation that is under way may wait for a page, or for the other end of a pipe.
    abandonPostcopy()
    state.value.transfer?.cancel()
    if !state.value.isBusy { finish() }
  }

  /// Closes the device and lets go of everything.
  private func finish() {
    guard !state.value.isOver else { return }
    state.value.isOver = true
    // One that was advised while the connection ended.
    abandonPostcopy()
    closeBackChannel()
    run {
      device.close(completion: $0)
    } then: { [self] result in
      if case .failure(let error) = result { deviceFailed(error) }
      state.value.isConfigured = false
      endLog()
    }
  }

  /// The next front-end's writes are not to be noted in the log of this one.
  private func endLog() {
    guard state.value.protocolState.activeLog != nil else { return end() }
    run {
      device.setLog(nil, completion: $0)
    } then: { [self] result in
      if case .failure(let error) = result { deviceFailed(error) }
      end()
    }
  }

  private func end() {
    let end = state.value.end ?? VhostUserError(.stopped, "the socket was stopped")
    state.value.protocolState = SessionState(offer: state.value.protocolState.offer)
    endSwitches()
    log.flush()
    handlers.end(end)
  }
}
