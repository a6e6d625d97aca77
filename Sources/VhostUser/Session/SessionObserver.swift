import VDPA

/// Carries what a device reports by itself to the session's loop.
struct SessionObserver: DeviceObserver {
  private let session: Session
  /// Who reports.
  private let device: DeviceContext

  init(_ session: Session, _ device: DeviceContext) {
    self.session = session
    self.device = device
  }

  func deviceReports(_ report: DeviceReport) {
    session.loop.run { [session, device] in
      if session.device === device {
        session.take(report)
      } else if session.state.value.successor === device {
        session.state.value.earlyReports.append(report)
      }
      // Any other one has handed the rings over and has nothing to say of them any more.
    }
  }
}

extension Session {
  func take(_ report: DeviceReport) {
    switch report {
    case .vringBroken(let index, let reason): vringBroken(index, reason)
    case .translationMissing(let index, let miss): translationMissing(miss, ring: index)
    case .requestsFail(let index, let reason):
      log.warning("vring \(index): \(reason)")
      emit(.requestsFail(index: index, reason: reason))
    case .requestsResubmitted(let index, let count):
      log.info("vring \(index): \(count) requests were in flight when their back-end ended; they are done again")
    case .configurationChanged:
      log.debug("the configuration space has changed")
      sendBack(.configurationChange)
    case .memoryLost(let reason):
      // One report a ring; the first ends it.
      guard state.value.end == nil else { return }
      let error = VhostUserError(.memoryLost, reason)
      log.error("\(error)")
      stop(error)
    case .sharedObjectAdded(let uuid): tell(of: uuid) { .sharedObjectAdd($0) }
    case .sharedObjectRemoved(let uuid): tell(of: uuid) { .sharedObjectRemove($0) }
    case .sharedObjectWanted(let uuid): lookUp(uuid)
    case .failed(let reason):
      deviceFailed(
        VDPAError(.operationFailed, "\(name): \(device.handle) (\(device.driver)) has failed: \(reason)"))
      closeFailedDevice()
    }
  }

  func vringBroken(_ index: Int, _ reason: String) {
    log.error("vring \(index) is broken and no longer served: \(reason)")
    let vrings = state.value.protocolState.vrings
    if vrings.indices.contains(index) {
      if let error = vrings[index].error {
        EventFD.signal(error)
      } else {
        sendBack(.vringError(index: UInt32(index)))
      }
    }
    emit(.vringBroken(index: index, reason: reason))
  }
}
