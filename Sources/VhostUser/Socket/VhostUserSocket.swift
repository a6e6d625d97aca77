public import Logging
import Synchronization
public import VDPA
public import Virtio

/// A vhost-user socket in the role of a back-end: offers a virtio device to one front-end at a time, served by the device
/// that it is bound to, or by the software datapath.
///
/// Made, bound and set up by the application; then started. All functions may be called from any thread, but not from a
/// delegate while they wait for the thread that calls it (``stop()``).
public final class VhostUserSocket: Sendable {
  /// Before `start`, and what does not change after it.
  private struct Setup {
    var binding = DeviceHandle.software
    var device: DeviceContext?
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
  }

  /// What the socket is.
  public let configuration: SocketConfiguration
  let registry: Registry
  let loop: EventLoop
  let logger: Logger
  let events = SocketEvents()
  let live = Mutex(Live())
  private let setup = Mutex(Setup())
  private let server: Mutex<SocketServer?> = Mutex(nil)

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
    self.logger = logger
    loop = threads.loop()
  }

  // MARK: Binding

  /// The device that serves the socket; ``DeviceHandle/software`` unless it was bound.
  public var binding: DeviceHandle { setup.withLock { $0.binding } }

  /// Binds the socket to a device, which is claimed at once.
  ///
  /// - Throws: ``VhostUserError`` `outOfState` after `start`; ``VDPAError`` of the claim. The binding is then as it was.
  public func bind(_ device: DeviceHandle) throws {
    try change { setup in
      if setup.device != nil, setup.binding == device { return }
      let claimed = try claim(device, queues: setup.queues)
      setup.device?.release()
      setup.device = claimed
      setup.binding = device
    }
  }

  /// Binds the socket to the software datapath again.
  ///
  /// - Throws: ``VhostUserError`` `outOfState` after `start`.
  public func unbind() throws {
    try change { setup in
      setup.device?.release()
      setup.device = nil
      setup.binding = .software
    }
  }

  private func claim(_ handle: DeviceHandle, queues: Int?) throws(VDPAError) -> DeviceContext {
    try registry.claim(
      handle, type: configuration.type, owner: configuration.name, queues: queues,
      parameters: handle == .software ? configuration.parameters : [:])
  }

  /// Works on what can be set before `start`.
  private func change<Result: Sendable>(_ body: (inout Setup) throws -> Result) throws -> Result {
    try setup.withLock { setup in
      guard !setup.isStarted else {
        throw VhostUserError(.outOfState, "the socket is started; stop it before changing what it offers")
          .with(socket: configuration.name)
      }
      return try body(&setup)
    }
  }

  /// The attributes of the device that serves the socket, which is claimed if it has not been.
  private func attributes(_ setup: inout Setup) throws -> DeviceAttributes {
    if let device = setup.device { return device.attributes }
    let device = try claim(setup.binding, queues: setup.queues)
    setup.device = device
    return device.attributes
  }

  // MARK: What is offered

  /// The virtio features that the socket offers: the device's, unless restricted.
  ///
  /// - Throws: ``VDPAError``, when the device cannot be claimed.
  public var features: Features {
    get throws {
      try setup.withLock { setup in
        let all = try attributes(&setup).features
        return setup.features.map(all.intersection) ?? all
      }
    }
  }

  /// Offers exactly these virtio features.
  ///
  /// - Throws: ``VhostUserError`` `notNegotiated`, naming those that the device does not have; `outOfState` after
  ///   `start`.
  public func setFeatures(_ features: Features) throws {
    try change { setup in
      let excess = features.subtracting(try attributes(&setup).features)
      guard excess.isEmpty else { throw lacking(excess.describe(for: configuration.type), setup.binding) }
      setup.features = features
    }
  }

  /// Offers these virtio features too. Throws like ``setFeatures(_:)``.
  public func enableFeatures(_ features: Features) throws { try setFeatures(try self.features.union(features)) }

  /// Offers these virtio features no more.
  ///
  /// - Throws: ``VhostUserError`` `outOfState` after `start`.
  public func disableFeatures(_ features: Features) throws { try setFeatures(try self.features.subtracting(features)) }

  /// The protocol features that the socket offers: the device's, unless restricted.
  ///
  /// - Throws: ``VDPAError``, when the device cannot be claimed.
  public var protocolFeatures: ProtocolFeatures {
    get throws {
      try setup.withLock { setup in
        let all = try attributes(&setup).protocolFeatures
        return setup.protocolFeatures.map(all.intersection) ?? all
      }
    }
  }

  /// Offers exactly these protocol features.
  ///
  /// - Throws: ``VhostUserError`` `notNegotiated`, naming those that the device cannot serve; `outOfState` after `start`.
  public func setProtocolFeatures(_ features: ProtocolFeatures) throws {
    try change { setup in
      let excess = features.subtracting(try attributes(&setup).protocolFeatures)
      guard excess.isEmpty else { throw lacking(excess.description, setup.binding) }
      setup.protocolFeatures = features
    }
  }

  /// Offers these protocol features too. Throws like ``setProtocolFeatures(_:)``.
  public func enableProtocolFeatures(_ features: ProtocolFeatures) throws {
    try setProtocolFeatures(try protocolFeatures.union(features))
  }

  /// Offers these protocol features no more.
  ///
  /// - Throws: ``VhostUserError`` `outOfState` after `start`.
  public func disableProtocolFeatures(_ features: ProtocolFeatures) throws {
    try setProtocolFeatures(try protocolFeatures.subtracting(features))
  }

  /// The queues that the socket offers, as users count them (pairs for net): the device's, unless set.
  ///
  /// - Throws: ``VDPAError``, when the device cannot be claimed.
  public var queueCount: Int {
    get throws {
      try setup.withLock { setup in min(setup.queues ?? .max, try attributes(&setup).queueCount) }
    }
  }

  /// Offers that many queues.
  ///
  /// - Throws: ``VhostUserError`` `notNegotiated`, when the device has fewer; `outOfState` after `start`; ``VDPAError``
  ///   when software cannot make as many.
  public func setQueueCount(_ count: Int) throws {
    try change { setup in
      guard count >= 1 else {
        throw VhostUserError(.notNegotiated, "a device has at least one queue, not \(count)")
          .with(socket: configuration.name)
      }
      if setup.binding == .software {
        // A software device is made with as many queues as are wanted, so another one takes its place.
        let device = try claim(.software, queues: count)
        setup.device?.release()
        setup.device = device
      }
      let available = try attributes(&setup).queueCount
      guard count <= available else { throw lacking("\(count) queues (it has \(available))", setup.binding) }
      setup.queues = count
    }
  }

  private func lacking(_ what: String, _ device: DeviceHandle) -> VhostUserError {
    VhostUserError(.notNegotiated, "\(device) does not offer \(what)").with(socket: configuration.name)
  }

  // MARK: Running

  /// Starts to serve: listens, or takes the inherited connection.
  ///
  /// - Throws: ``VhostUserError`` for a socket that cannot be made, or with features that the device does not have;
  ///   ``VDPAError``, when the device cannot be claimed.
  public func start() throws {
    let (device, offer) = try change { setup -> (DeviceContext, SessionOffer) in
      let attributes = try attributes(&setup)
      if let wanted = setup.features {
        let excess = wanted.subtracting(attributes.features)
        guard excess.isEmpty else { throw lacking(excess.describe(for: configuration.type), setup.binding) }
      }
      if let wanted = setup.protocolFeatures {
        let excess = wanted.subtracting(attributes.protocolFeatures)
        guard excess.isEmpty else { throw lacking(excess.description, setup.binding) }
      }
      if let wanted = setup.queues, wanted > attributes.queueCount {
        throw lacking("\(wanted) queues (it has \(attributes.queueCount))", setup.binding)
      }
      guard let device = setup.device else { throw lacking("a device", setup.binding) }
      return (
        device,
        SessionOffer(
          type: configuration.type, features: setup.features ?? attributes.features,
          protocolFeatures: setup.protocolFeatures ?? attributes.protocolFeatures,
          queues: setup.queues ?? attributes.queueCount, maxRingSize: attributes.maxRingSize,
          memoryPolicy: configuration.memoryPolicy)
      )
    }
    let server = SocketServer(self, device: device, offer: offer)
    do {
      try server.start()
    } catch {
      throw error.with(socket: configuration.name)
    }
    setup.withLock { $0.isStarted = true }
    self.server.withLock { $0 = server }
  }

  /// Ends the connection if there is one, closes the socket, removes its file and gives the device back.
  ///
  /// Waits until the device is closed. The socket can be set up and started again.
  public func stop() {
    let server = self.server.withLock { server in
      defer { server = nil }
      return server
    }
    server?.stop()
    setup.withLock { setup in
      setup.device?.release()
      setup.device = nil
      setup.isStarted = false
    }
    live.withLock { $0 = Live() }
  }

  /// Whether the socket has nothing but the connection that it inherited, so that nothing comes after it. Known after
  /// ``start()``.
  public var isSingleConnection: Bool { server.withLock { $0?.isSingleConnection ?? false } }

  /// How the socket stands.
  public var status: SocketStatus {
    let (binding, driver) = setup.withLock { ($0.binding, $0.device?.driver) }
    let live = live.withLock { $0 }
    return SocketStatus(
      name: configuration.name, path: configuration.path, binding: binding, datapath: driver ?? "software",
      isConnected: live.isConnected, isReady: live.isReady, notReadyReason: live.notReadyReason)
  }

  /// The counters of the device's vrings, by index; empty for a device that does not count.
  public var statistics: [VringStatistics] {
    setup.withLock { $0.device }?.statistics?.vrings ?? []
  }

  /// What happens on the socket from now on. Each call gives a sequence of its own; one that nobody reads keeps the newest
  /// 1,024 events.
  public var eventStream: AsyncStream<SocketEvent> { events.makeStream() }

  /// Makes `delegate` hear of what happens; nil for nobody.
  public func setDelegate(_ delegate: (any VhostUserSocketDelegate)?) { events.setDelegate(delegate) }
}
