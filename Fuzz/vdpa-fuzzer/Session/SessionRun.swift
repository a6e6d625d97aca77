internal import Glibc
internal import Logging
internal import Synchronization
internal import SystemPackage
internal import Virtio

@testable internal import VDPA
@testable internal import VhostUser

/// One connection: a session with its device, and the front-end that plays the script against it.
///
/// What holds is looked at after each message, when the session has nothing left to do.
final class SessionRun {
  /// How a session stands.
  struct View: Sendable {
    var isOver = false
    var isBusy = false
    var isConfigured = false
    var hasFailed = false
    var accepted: Features?
    var protocolFeatures: ProtocolFeatures = []
    var hasMemory = false
    var missing: String?
    var notReadyReason: String?
    var started: [DeviceSetup.Vring] = []
  }

  private static let patience: Int64 = 10_000_000_000

  private let loop: EventLoop
  private let session: Session
  private let context: DeviceContext
  private let record: DeviceRecord
  private let offer: SessionOffer
  private let files = FrontEndFiles()
  private var socket: OwnedFD?
  private let end: FutexWord
  private var view = View()
  private var incoming: [UInt8] = []
  private var backChannel = BackChannelReader()
  /// Whether what was sent so far is whole messages.
  private var isInStep = true
  /// Whether the device was told to refuse something.
  private var refuses = false

  init(_ input: FuzzInput, page: OwnedFD, on loop: EventLoop) {
    let isWide = input.layout & 1 == 0
    let features = SessionTarget.features.intersection(SessionOffer.servedFeatures.union(isWide ? .accessPlatform : []))
    offer = SessionOffer(
      type: .net, features: features,
      protocolFeatures: isWide
        ? SessionTarget.everyProtocolFeature
        : SessionOffer.sessionProtocolFeatures.union(SessionOffer.optionalProtocolFeatures)
          .union(SessionOffer.deviceProtocolFeatures),
      queues: 2, maxRingSize: 256)
    record = DeviceRecord(offered: features, vringCount: offer.vringCount, maxRingSize: offer.maxRingSize)
    let device = RecordingDevice(
      record, page: page, isCapable: input.layout & 2 == 0, hasThread: input.layout & 4 != 0)
    context = DeviceContext(device, handle: .software, driver: "recording", owner: "vm0", released: {})
    let (own, other) = FrontEndFiles.pair()
    socket = own
    self.loop = loop
    let end = FutexWord()
    self.end = end
    session = Session(
      name: "vm0", connection: Connection(other, on: loop), device: context, offer: offer,
      log: LimitedLogger(Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }, prefix: "vm0"),
      handlers: SessionHandlers(
        event: { event in
          if case .refused(let error) = event {
            Oracle.require(!error.description.isEmpty, "a refusal without a reason")
          }
        },
        change: {}, end: { _ in end.signal() }))
    loop.run { [session] in session.start() }
    settle()
  }

  // MARK: The script

  func play(_ records: [Record]) {
    for record in records where !view.isOver {
      if record.isStep { act(record) } else { send(ScriptedMessage(record)) }
      examine()
    }
  }

  private func act(_ record: Record) {
    switch record.kind & 7 {
    case 0: report(record)
    case 1:
      refuses = true
      self.record.state.withLock { $0.goesWell = Int(record.a & 3) }
    case 2:
      isInStep = false
      write(Array(record.bytes.dropFirst()), [])
    case 3: backChannel.read(files.backChannel, answering: UInt64(record.d), isWrong: record.a & 1 == 1, view: view)
    case 4: files.closeKept()
    case 5: loop.run { [session] in session.stop(VhostUserError(.stopped, "the socket was stopped")) }
    default:
      for file in files.eventFDs { EventFD.signal(file) }
      self.record.touch()
    }
    settle()
  }

  private func report(_ record: Record) {
    guard let observer = self.record.state.withLock(\.observer) else { return }
    let index = Int(record.b & 7)
    switch record.a % 5 {
    case 0: observer.deviceReports(.vringBroken(index: index, reason: "of a loop"))
    case 1: observer.deviceReports(.requestsFail(index: index, reason: "of a bad disk"))
    case 2: observer.deviceReports(.configurationChanged)
    case 3: observer.deviceReports(.memoryLost(reason: "its file has become shorter"))
    default:
      refuses = true
      observer.deviceReports(.failed(reason: "it caught fire"))
    }
  }

  private func send(_ message: ScriptedMessage) {
    // Who asks whether the state has come through has closed its end of the pipe.
    if message.request == .checkDeviceState { files.closeKept() }
    let bytes = message.bytes(offering: offer)
    let descriptors = message.descriptors(from: files)
    let before = view
    if message.flaws.contains(.pieces) {
      write(Array(bytes.prefix(bytes.count / 2)), descriptors)
      settle()
      write(Array(bytes.dropFirst(bytes.count / 2)), [])
    } else {
      write(bytes, descriptors)
    }
    settle()
    let answers = takeAnswers()
    guard isInStep else { return }
    let name = FrontendRequest.name(of: message.number)
    for answer in answers {
      Oracle.require(answer.request == message.number, "\(name) is answered by an answer to \(answer.request)")
    }
    Oracle.require(answers.count <= 1, "\(name) is answered \(answers.count) times")
    guard message.isLegible else { return Oracle.require(view.isOver, "\(name) is no message, and taken all the same") }
    let isAwaited = message.needsReply && (view.isOver ? before : view).protocolFeatures.contains(.replyAck)
    let isDue = isAwaited || message.isAlwaysAnswered
    if view.isOver {
      Oracle.require(
        refuses || !(isAwaited && message.isAcknowledged || message.rule?.answer == .result),
        "the connection ends where \(name) could be refused by an answer")
    } else {
      Oracle.require(!isDue || !answers.isEmpty, "\(name) is not answered")
      Oracle.require(answers.isEmpty || isDue || message.mayBeAnswered, "\(name) is answered, which nobody wanted")
    }
    if message.isAcknowledged, !message.mayBeAnswered, let answer = answers.first {
      Oracle.require(answer.payload.count == 8, "\(name) is acknowledged by \(answer.payload.count) bytes")
    }
  }

  private func write(_ bytes: [UInt8], _ descriptors: [OwnedFD]) {
    guard let socket, !bytes.isEmpty else { return }
    // It holds far more than a message, and the session has read what came before. Where the session has hung up there is
    // nobody to write to.
    _ = try? StreamSocket.send(socket, bytes[...], descriptors: descriptors)
  }

  private func takeAnswers() -> [Answer] {
    if let socket {
      while let received = try? StreamSocket.receive(socket, atMost: 8192, descriptors: 253), !received.bytes.isEmpty {
        incoming += received.bytes
      }
    }
    var answers: [Answer] = []
    while let answer = Answer(takingFrom: &incoming) { answers.append(answer) }
    Oracle.require(incoming.isEmpty, "an answer ends early")
    return answers
  }

  // MARK: What holds

  /// Waits until the session has nothing left to do: it has seen what was written before, and no operation is under way.
  private func settle() {
    let deadline = MonotonicClock.nanoseconds + UInt64(SessionRun.patience)
    while true {
      view = look()
      guard view.isBusy else { return }
      // It waits for the end of a transfer, which a front-end that was interrupted in a message might never cause.
      files.closeKept()
      Oracle.require(MonotonicClock.nanoseconds < deadline, "the session is busy for ten seconds")
    }
  }

  private func look() -> View {
    let result = Mutex(View())
    let done = FutexWord()
    let seen = done.value
    // The socket may have become readable behind the turn in which this runs, but not behind that after the next.
    loop.run { [loop, session] in
      loop.run { [loop] in
        loop.run {
          result.withLock { $0 = View(session) }
          done.signal()
        }
      }
    }
    wait(for: done, seen, "the session's loop does not turn")
    return result.withLock { $0 }
  }

  private func wait(for word: FutexWord, _ seen: UInt32, _ complaint: String) {
    let deadline = MonotonicClock.nanoseconds + UInt64(SessionRun.patience)
    while word.value == seen {
      word.wait(whileEqualTo: seen, nanoseconds: SessionRun.patience)
      Oracle.require(word.value != seen || MonotonicClock.nanoseconds < deadline, complaint)
    }
  }

  private func examine() {
    let device = record.state.withLock { ($0.memory, $0.vrings) }
    // A device that could not be closed is another matter, and the connection's end.
    Oracle.require(refuses || (device.0 != nil) == view.isConfigured, "session and device are of two minds")
    guard !view.isOver else { return }
    Oracle.require((view.notReadyReason == nil) == view.isConfigured, "ready or not: \(view.notReadyReason ?? "-")")
    guard view.isConfigured else {
      return Oracle.require(view.missing != nil || view.hasFailed, "nothing is missing, and the device does not serve")
    }
    Oracle.require(
      view.accepted != nil && view.hasMemory && !view.started.isEmpty, "a device serves a front-end that is not ready")
    Oracle.require(
      view.started.map(\.description.index) == device.1.keys.sorted(),
      "vrings \(view.started.map(\.description.index)) are started, the device serves \(device.1.keys.sorted())")
    for vring in view.started {
      guard let served = device.1[vring.description.index] else { continue }
      let (one, other) = (vring.description, served.description)
      Oracle.require(
        one.size == other.size && one.descriptor == other.descriptor && one.avail == other.avail
          && one.used == other.used && one.kick === other.kick && one.call === other.call
          && vring.isEnabled == served.isEnabled, "the device serves another vring \(one.index) than there is")
    }
  }

  /// The front-end leaves; nothing of it may be left.
  func finish() {
    let seen = end.value
    files.closeKept()
    backChannel.read(files.backChannel, answering: 0, isWrong: false, view: view)
    socket = nil
    if !view.isOver { wait(for: end, seen, "the session does not end with its front-end") }
    context.release()
    // Nothing is held on to here either: what the session started had its part of an in-flight record.
    view = look()
    Oracle.require(record.state.withLock { $0.memory == nil }, "the device is still configured after the end")
    Oracle.require(!files.isMapped(), "the front-end's memory is still mapped after the end")
  }
}

extension SessionRun.View {
  init(_ session: Session) {
    let state = session.state.value
    isOver = state.isOver && !state.isBusy
    isBusy = state.isBusy || state.end != nil && !state.isOver
    isConfigured = state.isConfigured
    hasFailed = state.failure != nil
    accepted = state.protocolState.accepted
    protocolFeatures = state.protocolState.protocolFeatures
    hasMemory = !state.protocolState.memory.regions.isEmpty
    missing = state.protocolState.missing
    notReadyReason = session.notReadyReason
    started = state.protocolState.vrings.compactMap(\.setup)
  }
}

extension ScriptedMessage {
  /// Whether success or failure is all that there is to answer.
  var isAcknowledged: Bool { rule.map { $0.answer == .acknowledgement || $0.answer == .result } ?? true }
  /// Whether there is an answer that nobody has asked for.
  var isAlwaysAnswered: Bool { rule.map { $0.answer != .acknowledgement } ?? false }
  /// Whether there may be another answer: where pages are to come later, memory is answered with its new addresses.
  var mayBeAnswered: Bool { request == .setMemoryTable || request == .addMemoryRegion }
}
