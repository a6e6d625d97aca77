import Glibc
import VDPA

extension Session {
  /// Offers the front-end the doorbells of all vrings that run, or of one of them, where the device has some. The answers
  /// come later.
  func offerDoorbells(of index: Int? = nil) {
    guard device.hasDoorbells, state.value.backChannel != nil,
      state.value.protocolState.protocolFeatures.isSuperset(of: [.hostNotifier, .backendSendFD])
    else { return }
    for vring in state.value.protocolState.vrings where vring.isStarted && (index ?? vring.index) == vring.index {
      offerDoorbell(of: vring.index)
    }
  }

  private func offerDoorbell(of index: Int) {
    let withdrawals = state.value.doorbellWithdrawals
    device.doorbell(of: index) { [self] result in
      loop.run { [self] in
        guard state.value.doorbellWithdrawals == withdrawals else { return }
        switch result {
        case .success(let doorbell?): give(doorbell, for: index)
        case .success(nil): break
        case .failure(let error): log.warning("vring \(index) is kicked by eventfd: \(error)")
        }
      }
    }
  }

  private func give(_ doorbell: Doorbell, for index: Int) {
    guard state.value.isConfigured, state.value.protocolState.vrings[index].isStarted else { return }
    let area = VringAreaPayload(
      index: UInt32(index), hasDescriptor: true, size: UInt64(sysconf(CInt(_SC_PAGESIZE))), offset: doorbell.offset)
    sendBack(.vringHostNotifier(area, descriptor: doorbell.file)) { [self] answer in
      guard let answer else { return }
      if answer.payload == [UInt8](repeating: 0, count: 8) {
        log.debug("vring \(index) is kicked by its doorbell")
      } else {
        log.info("the front-end has no use for the doorbell of vring \(index), which is kicked by eventfd")
      }
    }
  }

  /// Takes the doorbells back: a write there would be seen by nobody. The front-end has then to use the eventfds.
  func withdrawDoorbells() {
    state.value.doorbellWithdrawals += 1
    guard device.hasDoorbells else { return }
    for vring in state.value.protocolState.vrings where vring.isStarted { withdrawDoorbell(of: vring.index) }
  }

  func withdrawDoorbell(of index: Int) {
    guard device.hasDoorbells else { return }
    sendBack(.vringHostNotifier(VringAreaPayload(index: UInt32(index), hasDescriptor: false), descriptor: nil)) {
      [self] _ in
      // What was written to the page until now was seen by nobody: whoever serves the ring looks once more.
      if let kick = state.value.protocolState.vrings[index].kick { EventFD.signal(kick) }
    }
  }
}
