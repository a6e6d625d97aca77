public import Logging
import Synchronization
public import VDPA
import Virtio

/// A vhost-user socket in the role of a back-end: offers a virtio device to one front-end at a time, served by the device
/// that it is bound to, or by the software datapath.
///
/// Made, bound and set up by the application; then started. All functions may be called from any thread, but not from a
/// delegate while they wait for the thread that calls it (``stop()``).
public final class VhostUserSocket: Sendable {
  /// Before `start`, and what does not change after it.
  struct Setup {
    var binding = DeviceHandle.software
    /// The name of the bound device's driver.
    var driver = Registry.softwareName
    var device: DeviceContext?
    /// What the candidates have.
    var candidates: [DeviceHandle: DeviceAttributes] = [:]
    /// nil: all that the device has.
    var features: Features?
    var protocolFeatures: ProtocolFeatures?
    var queues: Int?
    var isStarted = false
  }

  /// What others read while the socket runs.
  struct Live {
    var isConnected = false
    var isReady = false
    var notReadyReason: String? = "the socket is not started"
    var deviceFailures = 0
  }

  /// What the socket is.
  public let configuration: SocketConfiguration
  let registry: Registry
  let loop: EventLoop
  let log: LimitedLogger
  let events = SocketEvents()
  let live = Mutex(Live())
  private let setup = Mutex(Setup())
  private let server: Mutex<SocketServer?> = Mutex(nil)
  /// Held while the socket is set up, started or stopped; see `exclusively`.
  private let lifecycle = Mutex(())
  /// The descriptor that was taken over; nil once its connection has been used.
  private let inherited: Mutex<OwnedFD?>

  /// A socket that is not bound yet: (−1, −1), the software datapath.
  ///
  /// - Parameters:
  ///   - configuration: What it is.
  ///   - registry: Where its device comes from.
  ///   - threads: Which threads serve it.
  ///   - logger: Where its log lines go.
  public init(
    _ configuration: SocketConfiguration, registry: Registry, threads: SessionThreads,
    logger: Logger = Logger(label: "vhost-user")
  ) {
    self.configuration = configuration
    self.registry = registry
    log = LimitedLogger(logger, prefix: configuration.name)
    loop = threads.loop()
    if case .inherited(let descriptor) = configuration.endpoint {
      inherited = Mutex(OwnedFD(adopting: descriptor))
    } else {
      inherited = Mutex(nil)
    }
  }

  deinit {
    setup.withLock { $0.device }?.release()
    events.finish()
  }

  /// The descriptor that was taken over.
  ///
  /// - Throws: `outOfState`, when its connection has been used: there is only one.
  func inheritedDescriptor() throws(VhostUserError) -> OwnedFD {
    guard let descriptor = inherited.withLock({ $0 }) else {
      throw VhostUserError(.outOfState, "the inherited connection has been used; there is no other")
    }
    return descriptor
  }

  /// Lets go of an inherited connection, which can be used once.
  func useInherited() { inherited.withLock { $0 = nil } }

  // MARK: Binding

  /// The device that serves the socket; ``DeviceHandle/software`` unless it was bound.
  public var binding: DeviceHandle { setup.withLock { $0.binding } }

  /// Binds the socket to a device, which is claimed at once.
  ///
  /// On a socket that runs this is the live switch: the device takes the rings over as they stand, and the guest does not
  /// notice (design §4.1). The call returns when it is over.
  ///
  /// While nobody serves the rings, because they do not run or their device has failed, the next device takes the place of
  /// the one before; what goes wrong when it is configured is then told like any failure of a device.
  ///
  /// - Throws: ``VDPAError`` of the claim, or of the switch: when the device lacks what the front-end has been promised, is
  ///   another device to the guest, or fails; ``VhostUserError`` `notNegotiated`, when it does not have what the socket was
  ///   set to offer, or `outOfState` from a delegate of a socket that runs, which would wait for itself. The binding is then
  ///   as it was, and so is whoever serves, unless neither device can.
  public func bind(_ device: DeviceHandle) throws {
    try exclusively {
      try edit { try bind(&$0, to: device) }
    }
  }

  /// Binds the socket to the software datapath again, which is claimed when it is needed; see ``bind(_:)``.
  public func unbind() throws {
    try exclusively {
      try edit { setup in
        if setup.isStarted { return try bind(&setup, to: .software) }
        setup.device?.release()
        (setup.device, setup.driver, setup.binding) = (nil, Registry.softwareName, .software)
      }
    }
  }

  private func bind(_ setup: inout Setup, to device: DeviceHandle) throws {
    if setup.device != nil, setup.binding == device { return }
    // Front-ends have been told how many there are.
    let queues = setup.isStarted ? try setup.queues ?? attributes(&setup).queueCount : setup.queues
    var next = setup
    let claimed = try claim(device, queues: queues)
    (next.device, next.driver, next.binding) = (claimed, claimed.driver, device)
    do {
      try switchServer(to: &next)
    } catch {
      claimed.release()
      throw error
    }
    if setup.isStarted, !setup.candidates.isEmpty, let old = setup.device {
      // It may be switched to again.
      next.candidates[setup.binding] = SessionOffer.attributes(of: old)
    }
    setup.device?.release()
    setup = next
  }

  /// Has the running side, if there is one, go on with another device.
  private func switchServer(to next: inout Setup) throws {
    guard next.isStarted, let server = server.withLock({ $0 }) else { return }
    guard !loop.isCurrent else {
      throw VhostUserError(.outOfState, "a delegate cannot wait for its own socket; bind it from another thread")
        .with(socket: configuration.name)
    }
    let (device, offer) = try prepare(&next)
    try server.switchDevice(to: device, offer: offer)
  }

  func claim(_ handle: DeviceHandle, queues: Int?) throws(VDPAError) -> DeviceContext {
    // Only a software device is made for this socket; any other has the queues that it has.
    try registry.claim(
      handle, type: configuration.type, by: .vhostUser, owner: configuration.name,
      queues: handle == .software ? queues : nil, parameters: handle == .software ? configuration.parameters : [:])
  }

  /// Keeps whoever sets the socket up, starts or stops it from meeting another one half done. Devices are claimed and
  /// given back under this lock, which may take long, and never under the one that the status is read under.
  private func exclusively<Value>(_ body: () throws -> Value) throws -> Value {
    var outcome: Result<Value, any Error>?
    if loop.isCurrent {
      // From a delegate: whoever stops the socket just now waits for this very thread.
      _ = lifecycle.withLockIfAvailable { _ in outcome = Result { try body() } }
    } else {
      lifecycle.withLock { _ in outcome = Result { try body() } }
    }
    guard let outcome else {
      throw VhostUserError(.outOfState, "the socket is being stopped; ask again when that is over")
        .with(socket: configuration.name)
    }
    return try outcome.get()
  }

  /// Works on a copy of the setup, which takes the setup's place, with what was claimed, also after an error.
  private func edit<Value>(_ body: (inout Setup) throws -> Value) rethrows -> Value {
    var draft = setup.withLock { $0 }
    defer { setup.withLock { $0 = draft } }
    return try body(&draft)
  }

  /// Looks at the setup as it is.
  func withSetup<Value>(_ body: (Setup) -> Value) -> Value { setup.withLock { body($0) } }

  /// Works on what can be set before `start`.
  func change<Value>(_ body: (inout Setup) throws -> Value) throws -> Value {
    try exclusively { try editStopped(body) }
  }

  /// Looks at what the socket offers; claims the device if it has not been.
  func look<Value>(_ body: (inout Setup) throws -> Value) throws -> Value {
    try exclusively { try edit(body) }
  }

  private func editStopped<Value>(_ body: (inout Setup) throws -> Value) throws -> Value {
    try edit { setup in
      guard !setup.isStarted else {
        throw VhostUserError(.outOfState, "the socket is started; stop it before changing what it offers")
          .with(socket: configuration.name)
      }
      return try body(&setup)
    }
  }

  /// The attributes of the device that serves the socket, less what the candidates lack and what the protocol's side does
  /// not serve; the device is claimed if it has not been.
  func attributes(_ setup: inout Setup) throws -> DeviceAttributes {
    let device: DeviceContext
    if let claimed = setup.device {
      device = claimed
    } else {
      device = try claim(setup.binding, queues: setup.queues)
      setup.device = device
    }
    return setup.candidates.values.reduce(SessionOffer.attributes(of: device)) { $0.common(with: $1) }
  }

  func lacking(_ what: String, _ device: DeviceHandle) -> VhostUserError {
    VhostUserError(.notNegotiated, "\(device) does not offer \(what)").with(socket: configuration.name)
  }

  // MARK: Running

  /// Starts to serve: listens, connects, or takes the inherited connection. A front-end that nobody can connect to yet is no
  /// error: ``status`` says what is tried and why it failed.
  ///
  /// - Throws: ``VhostUserError`` for a socket that cannot be made, or with features that the device does not have, or
  ///   `outOfState` when it is started already or its inherited connection has been used; ``VDPAError``, when the device
  ///   cannot be claimed.
  public func start() throws {
    try exclusively { try run() }
  }

  private func run() throws {
    let (device, offer) = try editStopped { setup -> (DeviceContext, SessionOffer) in
      let prepared = try prepare(&setup)
      // From here on nothing of it can be changed.
      setup.isStarted = true
      return prepared
    }
    if device.attributes.protocolFeatures.contains(.pageFault), let lack = PageFaults.lack {
      log.info(
        "guests cannot arrive by postcopy migration: no userfaultfd that serves accesses of the kernel can be had "
          + "(\(lack)); run with CAP_SYS_PTRACE, or with access to /dev/userfaultfd")
    }
    let server = SocketServer(self, device: device, offer: offer)
    // Before the first event, for whoever asks for the status when one comes.
    self.server.withLock { $0 = server }
    do {
      try server.start()
    } catch {
      self.server.withLock { $0 = nil }
      setup.withLock { $0.isStarted = false }
      throw error.with(socket: configuration.name)
    }
  }

  /// What a server needs; claims the device if it has not been.
  private func prepare(_ setup: inout Setup) throws -> (DeviceContext, SessionOffer) {
    let attributes = try attributes(&setup)
    let missing = (setup.features ?? []).subtracting(attributes.features)
    guard missing.isEmpty else { throw lacking(missing.describe(for: configuration.type), setup.binding) }
    let missingProtocol = (setup.protocolFeatures ?? []).subtracting(
      attributes.protocolFeatures.union(SessionOffer.optionalProtocolFeatures))
    guard missingProtocol.isEmpty else { throw lacking(missingProtocol.description, setup.binding) }
    if let wanted = setup.queues, wanted > attributes.queueCount {
      throw lacking("\(wanted) queues (it has \(attributes.queueCount))", setup.binding)
    }
    guard let device = setup.device else { throw lacking("a device", setup.binding) }
    let offer = SessionOffer(
      type: configuration.type, features: setup.features ?? attributes.features,
      protocolFeatures: setup.protocolFeatures ?? attributes.protocolFeatures,
      queues: setup.queues ?? attributes.queueCount, maxRingSize: attributes.maxRingSize,
      memoryPolicy: configuration.memoryPolicy)
    return (device, offer)
  }

  /// Ends the connection if there is one, or the tries to make one, closes the socket, removes its file and gives the device
  /// back.
  ///
  /// Waits until the device can be claimed again. The socket can then be set up and started again.
  public func stop() {
    lifecycle.withLock { _ in
      server.withLock { $0 }?.stop()
      server.withLock { $0 = nil }
      edit { setup in
        setup.device?.release()
        setup.device = nil
        setup.isStarted = false
      }
      live.withLock { $0 = Live() }
    }
  }

  /// Whether the socket has nothing but the connection that it inherited, so that nothing comes after it. Known after
  /// ``start()``.
  public var isSingleConnection: Bool { server.withLock { $0?.isSingleConnection ?? false } }

  /// How the socket stands.
  public var status: SocketStatus {
    let (binding, driver) = setup.withLock { ($0.binding, $0.driver) }
    let live = live.withLock { $0 }
    return SocketStatus(
      name: configuration.name, path: configuration.path, role: configuration.role, binding: binding, datapath: driver,
      isConnected: live.isConnected, isReady: live.isReady, notReadyReason: live.notReadyReason,
      deviceFailures: live.deviceFailures)
  }

  /// The counters of the vrings that the socket offers, by index; empty for a device that does not count.
  public var statistics: [VringStatistics] {
    let (device, queues) = setup.withLock { ($0.device, $0.queues) }
    let all = device?.statistics?.vrings ?? []
    // The device may have more queues than are offered.
    return queues.map { Array(all.prefix($0 * configuration.type.ringsPerQueue)) } ?? all
  }

  /// What happens on the socket from now on. Each call gives a sequence of its own; one that nobody reads keeps the newest
  /// 1,024 events. It ends when the socket is let go of, not when it is stopped.
  public var eventStream: AsyncStream<SocketEvent> { events.makeStream() }

  /// Makes `delegate` hear of what happens; nil for nobody.
  public func setDelegate(_ delegate: (any VhostUserSocketDelegate)?) { events.setDelegate(delegate) }
}
