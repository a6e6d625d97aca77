import VDPA
import Virtio

/// Devices that do not note what they write: software serves in their place for as long as somebody wants to know
/// (vhost-user, Migration).
extension Session {
  /// Has the device note its writes where the state says now, before the message is answered.
  func changeLog(_ before: SessionState, _ success: Outcome, _ done: @escaping @Sendable (Outcome) -> Void) {
    let log = state.value.protocolState.activeLog
    guard log !== before.activeLog else { return done(success) }
    if log != nil && !device.canLog { return logElsewhere(before, success, done) }
    run {
      device.setLog(log, completion: $0)
    } then: { [self] result in
      switch result {
      case .success:
        self.log.info(log == nil ? "writes to guest memory are no longer logged" : "writes to guest memory are logged")
        done(success)
        if log == nil { handlers.giveBack() }
      case .failure(let error): operationFailed(error, before: before) { done($0.isSuccess ? success : $0) }
      }
    }
  }

  private func logElsewhere(
    _ before: SessionState, _ success: Outcome, _ done: @escaping @Sendable (Outcome) -> Void
  ) {
    let own = device
    guard let other = handlers.borrow() else {
      state.value.protocolState.forgetLog(since: before)
      let error = VDPAError(
        .notOffered, "\(own.handle) (\(own.driver)) keeps no dirty log, and no other device stands by")
      return done(outcome(.failure(error)))
    }
    let wanted = DeviceSwitch(device: other) { [self] result in
      guard case .switched = result else {
        handlers.lent(other, false)
        state.value.protocolState.forgetLog(since: before)
        let reason = if case .failed(let error) = result { "\(error)" } else { "the connection has ended" }
        return done(outcome(.failure(VDPAError(.operationFailed, "writes cannot be logged: \(reason)"))))
      }
      handlers.lent(other, true)
      log.info("\(own.handle) (\(own.driver)) keeps no dirty log: software serves while writes are logged")
      done(success)
    }
    begin(wanted)
  }
}
