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
    /// A software device that stands by for a bound one that fails.
    var standby: DeviceContext?
    /// The bound device, while software serves in its place because writes to guest memory are noted.
    var away: DeviceContext?
    /// The device that has failed and is to be bound again; nil once somebody has bound the socket since.
    var home: DeviceHandle?
    /// All that have been claimed.
    var devices: [DeviceContext] { [device, standby, away].compactMap { $0 } }
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
    var failovers = 0
    var failoverReason: String?
  }

  /// What the socket is.
  public let configuration: SocketConfiguration
  let registry: Registry
  let loop: EventLoop
  let log: LimitedLogger
  let events = SocketEvents()
  let live = Mutex(Live())
  let setup = Mutex(Setup())
  let server: Mutex<SocketServer?> = Mutex(nil)
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
    for device in setup.withLock(\.devices) { device.release() }
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

  /// Keeps whoever sets the socket up, starts or stops it from meeting another one half done. Devices are claimed and
  /// given back under this lock, which may take long, and never under the one that the status is read under.
  func exclusively<Value>(_ body: () throws -> Value) throws -> Value {
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

  /// Works on a copy of the setup, which takes the setup's place, with what was claimed, also after an error. That of a socket
  /// that runs is only looked at: it is changed where the socket is served, when another device takes over.
  func edit<Value>(_ body: (inout Setup) throws -> Value) rethrows -> Value {
    var draft = setup.withLock { $0 }
    let isStarted = draft.isStarted
    defer { if !isStarted { setup.withLock { $0 = draft } } }
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
    let others = Array(setup.candidates.values) + (setup.standby.map { [SessionOffer.attributes(of: $0)] } ?? [])
    var attributes = others.reduce(SessionOffer.attributes(of: device)) { $0.common(with: $1) }
    if setup.standby?.canLog == true { attributes.protocolFeatures.insert(.logSharedMemory) }
    return attributes
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
      try prepareStandby(&setup)
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
  func prepare(_ setup: inout Setup) throws -> (DeviceContext, SessionOffer) {
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
      let devices = setup.withLock { setup in
        defer { (setup.device, setup.standby, setup.away, setup.isStarted) = (nil, nil, nil, false) }
        setup.home = nil
        return setup.devices
      }
      for device in devices { device.release() }
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
      deviceFailures: live.deviceFailures, failovers: live.failovers, failoverReason: live.failoverReason)
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
