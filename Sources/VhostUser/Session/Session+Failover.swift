import VDPA
import Virtio

/// Devices that fail: what becomes of their rings, and who serves them from then on (design §2).
extension Session {
  /// The device has failed: its rings are not served until another one takes over, or the front-end starts anew.
  func deviceFailed(_ error: VDPAError) {
    let isFirst = state.value.failure == nil
    state.value.failure = error.description
    log.failure("\(error)")
    emit(.deviceFailed(error))
    guard isFirst && state.value.end == nil else { return }
    state.value.isFailingOver = handlers.hasStandby()
    handlers.failOver(error)
  }

  /// An operation has failed that the front-end waits for. Where another device stands by, that is configured with what the
  /// state says now, so the front-end need not know; else the operation has not taken place.
  ///
  /// - Parameter before: The state that holds then.
  func operationFailed(
    _ error: VDPAError, before: SessionState, _ done: @escaping @Sendable (Outcome) -> Void
  ) {
    guard goesOn, state.value.end == nil else {
      state.value.protocolState = before
      return done(outcome(.failure(error)))
    }
    closeDevice(because: error) { isClosed in
      // The connection has ended otherwise.
      if isClosed { done(.success) }
    }
  }

  /// Whether somebody takes over from a device that fails; for one that has said so itself, somebody may be about to.
  var goesOn: Bool { handlers.hasStandby() || state.value.isFailingOver }

  /// Closes a device that has reported its failure, as soon as no operation is under way.
  ///
  /// - Returns: Whether it is being closed.
  @discardableResult func closeFailedDevice() -> Bool {
    let current = state.value
    guard current.isConfigured, current.failure != nil, !current.isBusy, current.end == nil else { return false }
    closeDevice(because: nil) { [self] _ in onChange() }
    return state.value.isBusy
  }

  /// Has a device that has failed try again, if it is closed.
  func retry() {
    guard !state.value.isConfigured, state.value.failure != nil else { return }
    state.value.failure = nil
    configureIfReady()
    onChange()
  }

  /// Takes over where vrings stand that nobody serves any more, and says which of them are lost.
  func take(_ rings: StoppedRings) {
    for position in rings.states where state.value.protocolState.vrings.indices.contains(position.index) {
      state.value.protocolState.vrings[position.index].update(position)
    }
    for ring in rings.repeated where ring.value > 0 {
      log.warning(
        "vring \(ring.index): its device could not say what it had done; up to \(ring.value) chains are served once more"
      )
      emit(.requestsRepeated(index: ring.index, atMost: ring.value))
    }
    for ring in rings.lost where state.value.protocolState.vrings.indices.contains(ring.index) {
      state.value.protocolState.vrings[ring.index].lose("\(ring.value)")
      vringBroken(ring.index, "its device could not say where it stands, and nobody can go on: \(ring.value)")
    }
  }
}
