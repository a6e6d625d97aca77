import VDPA
import Virtio

extension Session {
  /// Does what a message asks for beyond the state's change.
  ///
  /// - Parameters:
  ///   - before: The state that holds again if the device refuses.
  ///   - done: Called on the loop's thread with what the answer carries.
  func perform(_ action: SessionAction, before: SessionState, done: @escaping @Sendable (Outcome) -> Void) {
    switch action {
    case .none: done(.success)
    case .value(let value): done(.value(value))
    case .inflightRecord(let payload, let file): done(.payload(payload, descriptors: [file]))
    case .featuresAccepted: acceptFeatures(before, done)
    case .changeMemory(let memory, let answer): changeMemory(to: memory, answer, done)
    case .changeTranslations(let memory): changeTranslations(to: memory, done)
    case .vringChanged(let index): tellDevice(of: index, before, done)
    case .stopVring(let index): stopVring(index, done)
    case .readConfiguration(let payload): readConfiguration(payload, done)
    case .writeConfiguration(let payload): writeConfiguration(payload, done)
    case .reset: reset(done)
    case .setMTU(let mtu): finish(done) { device.setMTU(mtu, completion: $0) }
    case .announce(let address): announce(address, done)
    case .changeLog(let answer): changeLog(before, answer.map(Outcome.value) ?? .success, done)
    case .openBackChannel(let socket): openBackChannel(socket, done)
    case .kick(let index): kick(index, done)
    case .transferState(let direction, let pipe): transferState(direction, pipe, done)
    case .checkState: checkState(done)
    case .findObject(let payload): findObject(payload, done)
    case .advisePostcopy: advisePostcopy(done)
    case .endPostcopy(let faults): endPostcopy(faults, done)
    }
  }

  private func acceptFeatures(_ before: SessionState, _ done: @escaping @Sendable (Outcome) -> Void) {
    let protocolState = state.value.protocolState
    let features = protocolState.deviceFeatures
    run {
      device.setFeatures(features, completion: $0)
    } then: { [self] result in
      if case .success = result {
        log.debug("features accepted: \(features.describe(for: protocolState.offer.type))")
        emit(.featuresNegotiated(features, protocolState.protocolFeatures))
        changeLog(before, .success, done)
      } else if case .failure(let error) = result {
        operationFailed(error, before: before, done)
      }
    }
  }

  private func changeMemory(
    to memory: GuestMemory, _ answer: [UInt8]?, _ done: @escaping @Sendable (Outcome) -> Void
  ) {
    moveDevice(to: memory) { [self] result in
      switch result {
      case .success:
        state.value.protocolState.take(memory)
        log.debug("guest memory has \(memory.regions.count) regions")
        emit(.memoryChanged(regions: memory.regions.count))
        findRings { done(answer.map { .payload($0, descriptors: []) } ?? .success) }
      case .failure(let error):
        // The device uses neither the old nor the new memory any more once it is closed.
        let goesOn = goesOn
        closeDevice(because: error) { [self] _ in
          guard goesOn else { return done(outcome(.failure(error))) }
          state.value.protocolState.take(memory)
          emit(.memoryChanged(regions: memory.regions.count))
          findRings { done(answer.map { .payload($0, descriptors: []) } ?? .success) }
        }
      }
    }
  }

  private func tellDevice(
    of index: Int, _ before: SessionState, _ done: @escaping @Sendable (Outcome) -> Void
  ) {
    let vring = state.value.protocolState.vrings[index]
    let event = SocketEvent.vring(index: index, isStarted: vring.isStarted, isEnabled: vring.isEnabled)
    guard state.value.isConfigured, let setup = vring.setup else {
      emit(event)
      return done(.success)
    }
    run {
      device.setVring(setup, completion: $0)
    } then: { [self] result in
      switch result {
      case .success:
        watchInbandCalls()
        if !before.vrings[index].isStarted { offerDoorbells(of: index) }
        emit(event)
        done(.success)
      case .failure(let error): operationFailed(error, before: before, done)
      }
    }
  }

  private func stopVring(_ index: Int, _ done: @escaping @Sendable (Outcome) -> Void) {
    guard state.value.isConfigured, state.value.protocolState.vrings[index].isStarted else {
      return stopped(index, done)
    }
    let others = state.value.protocolState.vrings.contains { $0.index != index && $0.isStarted }
    guard others && device.canStopVrings else { return closeDevice(stopping: index, done) }
    // One that waits for translations is not the device's.
    guard state.value.protocolState.vrings[index].started != nil else { return stopped(index, done) }
    run {
      device.stopVring(index, completion: $0)
    } then: { [self] result in
      switch result {
      case .success(let position):
        state.value.protocolState.vrings[index].update(position)
        stopped(index, done)
      case .failure(let error):
        log.error("\(error)")
        closeDevice(stopping: index, done)
      }
    }
  }

  /// The last ring of a device stops, or one of a device that cannot stop single ones: the other rings then answer from
  /// the states that it returned, and those that are still started go on as soon as the device can.
  private func closeDevice(stopping index: Int, _ done: @escaping @Sendable (Outcome) -> Void) {
    closeDevice(because: nil) { [self] isClosed in
      // The connection has ended otherwise.
      if isClosed { stopped(index, done) }
    }
  }

  /// Closes the device and takes over where its vrings stand.
  ///
  /// A device that cannot be closed may still use guest memory. Nothing can be acknowledged any more then, so the
  /// connection ends; the memory stays mapped.
  ///
  /// - Parameters:
  ///   - failure: Why it is closed, if not because its vrings are stopped.
  ///   - then: Called on the loop's thread with whether it is closed.
  func closeDevice(because failure: VDPAError?, then: @escaping @Sendable (Bool) -> Void) {
    if let failure { deviceFailed(failure) }
    withdrawDoorbells()
    let setup =
      state.value.isConfigured ? state.value.protocolState.setup(observer: SessionObserver(self, device)) : nil
    let isInOrder = device.attributes.completesInOrder
    run {
      device.close(completion: $0)
    } then: { [self] result in
      state.value.isConfigured = false
      switch result {
      case .success(let states):
        take(
          setup.map { StoppedRings(of: $0, said: states, completesInOrder: isInOrder) } ?? StoppedRings(states: states))
        emit(.notReady(reason: state.value.failure ?? "a vring was stopped"))
        then(true)
      case .failure(let error):
        deviceFailed(error)
        stop(VhostUserError(.device, error.description))
        then(false)
      }
    }
  }

  private func stopped(_ index: Int, _ done: @escaping @Sendable (Outcome) -> Void) {
    state.value.protocolState.vrings[index].stop()
    state.value.protocolState.forgetTranslations()
    let vring = state.value.protocolState.vrings[index]
    // A front-end that stops everything may start anew with a device that had failed.
    if !state.value.protocolState.vrings.contains(where: \.isStarted) { state.value.failure = nil }
    emit(.vring(index: index, isStarted: false, isEnabled: vring.isEnabled))
    done(.payload(VringStatePayload(index: UInt32(index), number: state.value.protocolState.base(of: index))))
  }

  private func readConfiguration(_ payload: ConfigurationPayload, _ done: @escaping @Sendable (Outcome) -> Void) {
    run {
      device.readConfiguration(completion: $0)
    } then: { [self] result in
      guard case .success(let space) = result else { return done(outcome(result.map { _ in () })) }
      // A newer front-end may ask for fields that this device does not have yet: they are zero.
      let wanted = payload.bytes.count
      let start = Int(payload.offset)
      let bytes = (start..<start + wanted).map { $0 < space.count ? space[$0] : 0 }
      done(.payload(ConfigurationPayload(offset: payload.offset, bytes: bytes)))
    }
  }

  func outcome(_ result: Result<Void, VDPAError>) -> Outcome {
    switch result {
    case .success: .success
    case .failure(let error): .failure(VhostUserError(.device, error.description))
    }
  }
}
