import Synchronization
import VDPA

/// The running side of a socket: has one session at a time, with whoever its source brings. Lives on the socket's loop.
final class SocketServer: Sendable {
  private struct State {
    var device: DeviceContext
    var offer: SessionOffer
    var source: (any ConnectionSource)?
    var session: Session?
    /// A connection that came while the one before was still being closed.
    var waiting: OwnedFD?
    /// Set when the socket is being stopped; called when nothing is left.
    var stopped: (@Sendable () -> Void)?
  }

  private let socket: VhostUserSocket
  private let log: LimitedLogger
  private let greeting: String
  private let state: LoopBound<State>

  init(_ socket: VhostUserSocket, device: DeviceContext, offer: SessionOffer) {
    self.socket = socket
    log = socket.log
    state = LoopBound(State(device: device, offer: offer), on: socket.loop)
    greeting = "\(device.handle) (\(device.driver)), \(offer.queues) queues"
  }

  private var loop: EventLoop { socket.loop }

  /// Whether it was made from a connection, so that there will be no other.
  private let single = Atomic<Bool>(false)
  var isSingleConnection: Bool { single.load(ordering: .relaxed) }

  // MARK: Called by the application

  func start() throws(VhostUserError) {
    let source = try makeSource()
    log.info("\(greeting), \(purpose)")
    let failure = onLoop { () -> VhostUserError? in
      self.state.value.source = source
      self.update()
      do throws(VhostUserError) {
        try source.start(
          onConnection: { self.accept($0) },
          onError: { error in self.log.warning("\(error)") },
          onChange: { self.update() })
        return nil
      } catch {
        self.state.value.source = nil
        source.stop()
        return error
      }
    }
    if let failure { throw failure }
  }

  private func makeSource() throws(VhostUserError) -> any ConnectionSource {
    let configuration = socket.configuration
    switch configuration.endpoint {
    case .listen(let path):
      return try Listener(
        path: path,
        options: SocketFile.Options(
          mode: configuration.mode, owner: configuration.owner, group: configuration.group), on: loop)
    case .connect(let path):
      return try Connector(path: path, on: loop)
    case .inherited:
      let inherited = try socket.inheritedDescriptor()
      switch try InheritedSocket.kind(of: inherited) {
      case .listening: return try Listener(adopting: inherited, on: loop)
      case .connected:
        socket.useInherited()
        single.store(true, ordering: .relaxed)
        return SingleConnection(inherited, on: loop)
      }
    }
  }

  /// What it does, for the log.
  private var purpose: String {
    switch socket.configuration.endpoint {
    case .listen: "listening"
    case .connect(let path): "connecting to \(path)"
    case .inherited: isSingleConnection ? "connected" : "listening"
    }
  }

  func stop() {
    let _: Bool = waitForValue { done in
      loop.run { [self] in
        state.value.source?.stop()
        state.value.source = nil
        state.value.waiting = nil
        state.value.stopped = { done(true) }
        if let session = state.value.session {
          session.stop(VhostUserError(.stopped, "the socket was stopped"))
        } else {
          finish()
        }
      }
    }
  }

  /// Has another device serve: the session that there is, once that has handed over, and those to come. The socket gets to
  /// know at that moment; the device that served is then given back.
  ///
  /// - Parameters:
  ///   - device: The device.
  ///   - offer: What front-ends are offered from now on.
  ///   - standby: What stands by for it.
  /// - Throws: ``VDPAError``, when the device does not serve; the one before goes on then, if it can.
  func switchDevice(
    to device: DeviceContext, offer: SessionOffer, standby: DeviceContext?
  ) throws(VDPAError) {
    let result: Result<[DeviceContext], VDPAError> = waitForValue { done in
      loop.run { [self] in
        let taken: @Sendable () -> Void = { [self] in
          (state.value.device, state.value.offer) = (device, offer)
          done(.success(socket.take(device, standby: standby)))
        }
        guard let session = state.value.session else { return taken() }
        session.switchDevice(
          DeviceSwitch(device: device, canBorrow: standby?.canLog == true) { outcome in
            switch outcome {
            case .switched, .disconnected, .superseded: taken()
            case .failed(let error): done(.failure(error))
            }
          })
      }
    }
    for old in try result.get() { old.release() }
  }

  /// Has a device that has failed try again.
  func retry() {
    onLoop { self.state.value.session?.retry() }
  }

  private func onLoop<Value: Sendable>(_ body: @escaping @Sendable () -> Value) -> Value {
    if loop.isCurrent { return body() }
    return waitForValue { done in loop.run { done(body()) } }
  }

  // MARK: Failover

  /// A device has failed: the one that stands by takes its place, if there is one and nothing can write to guest memory beside
  /// it.
  private func failOver(because error: VDPAError) {
    guard error.code != .stuck, let session = state.value.session, let standby = socket.takeStandby() else { return }
    let failed = session.device
    let taken: @Sendable () -> Void = { [self] in
      state.value.device = standby
      socket.live.withLock { ($0.failovers, $0.failoverReason) = ($0.failovers + 1, error.description) }
      release(socket.take(standby, standby: nil, home: failed.handle))
      socket.planReturn(to: failed.handle)
      log.failure("failed over from \(failed.handle) (\(failed.driver)) to \(standby.handle): \(error)")
      socket.events.send(.failedOver(from: failed.handle, to: standby.handle, reason: error), from: socket)
    }
    // The session is in the middle of something.
    loop.run { [self] in
      guard state.value.session === session else { return socket.keep(standby) }
      session.switchDevice(
        DeviceSwitch(device: standby, replaced: failed) { [self] outcome in
          switch outcome {
          case .switched: taken()
          case .disconnected, .superseded: socket.keep(standby)
          case .failed(let refusal):
            log.failure("software does not take over: \(refusal)")
            socket.keep(standby)
          }
        })
    }
  }

  /// Gives devices back. Who waits for that, maybe for long, waits elsewhere.
  private func release(_ devices: [DeviceContext]) {
    guard !devices.isEmpty else { return }
    _ = try? PinnedThread(name: "vdpa-release") { for device in devices { device.release() } }
  }

  // MARK: Devices that keep no dirty log

  /// Software serves in place of the bound device from now on; or it does not, and stands by again.
  private func lent(_ standby: DeviceContext, _ isServing: Bool) {
    guard isServing else { return socket.keep(standby) }
    state.value.device = standby
    socket.lend(standby)
  }

  /// The bound device is to serve again.
  private func giveBack() {
    guard let session = state.value.session, let own = socket.away else { return }
    let lent = state.value.device
    // The session is in the middle of something.
    loop.run { [self] in
      guard state.value.session === session, socket.away === own else { return }
      session.switchDevice(
        DeviceSwitch(device: own, replaced: lent, canBorrow: true) { [self] outcome in
          switch outcome {
          case .switched, .disconnected: returned()
          case .superseded: break
          // It is asked again when that ends.
          case .failed where session.isLogging: break
          case .failed(let error):
            log.failure("software goes on: \(own.handle) (\(own.driver)) does not take over again: \(error)")
            release(socket.take(state.value.device, standby: nil))
          }
        })
    }
  }

  private func returned() {
    guard let own = socket.takeBack() else { return }
    state.value.device = own
  }

  // MARK: On the loop

  private func accept(_ descriptor: OwnedFD) {
    if let session = state.value.session {
      // A front-end that comes back can be seen before the end of its last connection is.
      let isFree = state.value.waiting.map { StreamSocket.isHungUp($0) } ?? true
      guard session.isEnding, isFree else {
        let error = VhostUserError(
          .pathInUse, "a front-end is connected already; a socket serves one, and this one was turned away")
        log.warning("\(error)")
        socket.events.send(.connectionRefused(error.with(socket: socket.configuration.name)), from: socket)
        return
      }
      state.value.waiting = descriptor
      return
    }
    let session = Session(
      name: socket.configuration.name, connection: Connection(descriptor, on: loop), device: state.value.device,
      offer: state.value.offer, log: log,
      handlers: SessionHandlers(
        event: { [self] event in
          if case .deviceFailed = event { socket.live.withLock { $0.deviceFailures += 1 } }
          update()
          socket.events.send(event, from: socket)
        },
        change: { [self] in update() }, end: { [self] in ended($0) }, stalls: socket.configuration.stalls,
        hasStandby: { [socket] in socket.hasStandby },
        failOver: { [self] in failOver(because: $0) },
        borrow: { [socket] in socket.canLend ? socket.takeStandby() : nil }, lent: { [self] in lent($0, $1) },
        giveBack: { [self] in giveBack() }))
    state.value.session = session
    log.info("a front-end has connected")
    update()
    socket.events.send(.connected, from: socket)
    session.start()
  }

  private func ended(_ reason: VhostUserError) {
    let wasReady = state.value.session?.wasReady ?? false
    state.value.session = nil
    // Nobody's writes are noted any more.
    returned()
    log.info("disconnected: \(reason.message)")
    update()
    socket.events.send(.disconnected(reason), from: socket)
    if state.value.stopped != nil {
      finish()
    } else if let waiting = state.value.waiting {
      state.value.waiting = nil
      accept(waiting)
    } else {
      state.value.source?.connectionEnded(wasReady: wasReady)
    }
  }

  private func finish() {
    let stopped = state.value.stopped
    state.value.stopped = nil
    log.flush()
    stopped?()
  }

  /// Writes down how the socket stands for those on other threads.
  private func update() {
    let session = state.value.session
    let isReady = session?.isReady ?? false
    let nobody = state.value.source?.waitingFor ?? "the socket is being stopped"
    let reason = session.map(\.notReadyReason) ?? nobody
    socket.live.withLock { live in
      live.isConnected = session != nil
      live.isReady = isReady
      live.notReadyReason = reason
    }
  }
}
