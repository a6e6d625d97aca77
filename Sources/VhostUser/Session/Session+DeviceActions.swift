import VDPA
import Virtio

extension Session {
  /// Runs an operation of the device whose success or failure is the answer.
  func finish(
    _ done: @escaping @Sendable (Outcome) -> Void, _ operation: (@escaping DeviceContext.Completion<Void>) -> Void
  ) {
    run(operation) { [self] result in done(outcome(result)) }
  }

  func writeConfiguration(_ payload: ConfigurationPayload, _ done: @escaping @Sendable (Outcome) -> Void) {
    finish(done) {
      device.writeConfiguration(
        payload.bytes, at: Int(payload.offset), isRestoring: payload.restoresMigration, completion: $0)
    }
  }

  /// The device begins anew: its rings are stopped and disabled. The connection and guest memory stay (vhost-user,
  /// RESET_DEVICE).
  func reset(_ done: @escaping @Sendable (Outcome) -> Void) {
    closeDevice(because: nil) { [self] isClosed in
      // The connection has ended otherwise.
      guard isClosed else { return }
      state.value.failure = nil
      state.value.protocolState.resetVrings()
      log.info("the front-end has reset the device")
      done(.success)
    }
  }

  /// The guest has arrived here: the device is told, and tells its network.
  func announce(_ address: MACAddress, _ done: @escaping @Sendable (Outcome) -> Void) {
    let before = state.value.protocolState
    run {
      device.migrationDone(completion: $0)
    } then: { [self] result in
      if case .failure(let error) = result { return operationFailed(error, before: before, done) }
      guard device.canAnnounce else { return done(.success) }
      log.info("the guest has arrived; announcing \(address)")
      finish(done) { device.announce(address, completion: $0) }
    }
  }

  func openBackChannel(_ socket: OwnedFD, _ done: @escaping @Sendable (Outcome) -> Void) {
    do throws(VhostUserError) {
      try openBackChannel(socket)
      offerDoorbells()
      done(.success)
    } catch {
      done(.failure(error))
    }
  }

  func kick(_ index: Int, _ done: @escaping @Sendable (Outcome) -> Void) {
    // A ring that has an eventfd of the front-end's may be kicked by message all the same.
    if let kick = state.value.protocolState.vrings[index].kick { EventFD.signal(kick) }
    done(.success)
  }

  // MARK: The device's own state

  func transferState(
    _ direction: DeviceStatePayload.Direction, _ pipe: OwnedFD, _ done: @escaping @Sendable (Outcome) -> Void
  ) {
    state.value.transfer?.cancel()
    state.value.transfer = nil
    // Bit 8: the front-end's own descriptor is used.
    let accepted = Outcome.value(1 << 8)
    switch direction {
    case .load:
      begin(StatePipe.make(pipe, saving: nil, on: loop), accepted, done)
    case .save:
      run {
        device.saveState(completion: $0)
      } then: { [self] result in
        switch result {
        case .success(let bytes): begin(StatePipe.make(pipe, saving: bytes, on: loop), accepted, done)
        case .failure(let error): done(.failure(VhostUserError(.device, error.description)))
        }
      }
    }
  }

  private func begin(
    _ pipe: Result<StatePipe, VhostUserError>, _ accepted: Outcome, _ done: @escaping @Sendable (Outcome) -> Void
  ) {
    switch pipe {
    case .success(let pipe):
      state.value.transfer = pipe
      pipe.start()
      done(accepted)
    case .failure(let error): done(.failure(error))
    }
  }

  /// The other end of the pipe is closed, or about to be; then it is known whether all went well. Not before, unless the
  /// connection ends.
  func checkState(_ done: @escaping @Sendable (Outcome) -> Void) {
    guard let transfer = state.value.transfer else {
      return done(.failure(VhostUserError(.outOfState, "no device state was transferred (SET_DEVICE_STATE_FD)")))
    }
    run { (completion: @escaping DeviceContext.Completion<StatePipe.Outcome>) in
      transfer.whenDone { completion(.success($0)) }
    } then: { [self] result in
      state.value.transfer = nil
      switch result {
      case .success(.saved): done(.success)
      case .success(.loaded(let bytes)): finish(done) { device.loadState(bytes, completion: $0) }
      case .success(.failed(let error)): done(.failure(error))
      case .failure(let error): done(.failure(VhostUserError(.device, error.description)))
      }
    }
    if state.value.transfer != nil && state.value.end == nil {
      // What it waits for is the front-end's, too.
      connection.pauseReading(noticingHangUp: true)
    }
  }

  // MARK: Shared objects

  func findObject(_ payload: SharedObjectPayload, _ done: @escaping @Sendable (Outcome) -> Void) {
    run {
      device.sharedObject(payload.bytes, completion: $0)
    } then: { [self] result in
      switch result {
      case .success(let object?): done(.payload(payload, descriptors: [object]))
      // Without a descriptor there is no such object.
      case .success(nil): done(.payload(payload))
      case .failure(let error): done(outcome(.failure(error)))
      }
    }
  }
}
