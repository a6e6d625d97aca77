import VDPA
import Virtio

/// Devices that have work and make no progress.
extension Session {
  /// What is known of the rings of the device that serves them.
  struct Stalls {
    /// How often a ring is looked at in the time that a device is given.
    static let looks = 4

    var device: DeviceContext?
    var rings: [Int: (progress: RingProgress, stuckLooks: Int)] = [:]
  }

  /// Begins to look at the rings from time to time, unless that is not wanted.
  func watchStalls() {
    guard let policy = handlers.stalls else { return }
    loop.run(after: max(policy.milliseconds / Stalls.looks, 1)) { [weak self] in
      guard let self, !self.state.value.isOver else { return }
      self.lookForStalls(policy)
      self.watchStalls()
    }
  }

  private func lookForStalls(_ policy: StallPolicy) {
    let current = state.value
    // Whether a worker of this process is stuck its watchdog tells. A look at memory that is still arriving would wait for it.
    guard current.isConfigured, !current.isBusy, current.failure == nil, device.handle != .software,
      !current.protocolState.isArriving
    else {
      state.value.stalls = Stalls()
      return
    }
    if current.stalls.device !== device { state.value.stalls = Stalls(device: device) }
    let (features, memory) = (current.protocolState.deviceFeatures, current.protocolState.memory)
    for vring in current.protocolState.vrings where vring.isEnabled && hasWork(vring.index) {
      guard let description = vring.started else { continue }
      var (progress, stuckLooks) = state.value.stalls.rings[vring.index] ?? (RingProgress(), 0)
      stuckLooks = progress.isStuck(description, features: features, in: memory) ? stuckLooks + 1 : 0
      state.value.stalls.rings[vring.index] = (progress, stuckLooks)
      guard stuckLooks == Stalls.looks else { continue }
      let reason = "vring \(vring.index) has waited for \(policy.milliseconds) ms, and nothing of it was done"
      emit(.stalled(index: vring.index, milliseconds: policy.milliseconds))
      guard policy.isFailure else {
        log.warning("\(device.handle) (\(device.driver)): \(reason)")
        continue
      }
      deviceFailed(VDPAError(.operationFailed, "\(name): \(device.handle) (\(device.driver)) has stalled: \(reason)"))
      closeFailedDevice()
      return
    }
  }

  /// Whether what waits in a ring is work for its device. Buffers that packets are to come in may wait for ever.
  private func hasWork(_ index: Int) -> Bool {
    state.value.protocolState.offer.type != .net || index % 2 == 1
  }
}
