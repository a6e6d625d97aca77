import VDPA
import Virtio

/// Behind a guest's IOMMU: rings that wait for translations, and what the front-end is asked for (vhost-user, IOMMU support).
/// Nothing here ever waits for the front-end.
extension Session {
  /// Moves the device to other memory. A ring that loses a part there is taken from the device first, and waits; the
  /// others go on.
  ///
  /// - Parameter then: Called on the loop's thread, when nobody uses any more what is gone. Not at all, when the connection
  ///   has ended because that could not be had.
  func moveDevice(to memory: GuestMemory, then: @escaping @Sendable (Result<Void, VDPAError>) -> Void) {
    let protocolState = state.value.protocolState
    let loser = protocolState.vrings.first { $0.started != nil && $0.waits(in: memory) != nil }
    guard state.value.isConfigured, let loser else {
      return run({ device.changeMemory(to: memory, completion: $0) }, then: then)
    }
    guard device.canStopVrings else {
      // Until all of its rings are there.
      return closeDevice(because: nil) { [self] isClosed in
        if isClosed { moveDevice(to: memory, then: then) }
      }
    }
    withdrawDoorbell(of: loser.index)
    run {
      device.stopVring(loser.index, completion: $0)
    } then: { [self] result in
      switch result {
      case .success(let position):
        state.value.protocolState.vrings[loser.index].update(position)
        state.value.protocolState.vrings[loser.index].wait(in: memory)
        moveDevice(to: memory, then: then)
      case .failure(let error):
        // Whoever cannot stop a ring is stopped altogether.
        closeDevice(because: error) { [self] isClosed in
          if isClosed { moveDevice(to: memory, then: then) }
        }
      }
    }
  }

  /// Takes over what the IOMMU says; answered only when the device has taken it over.
  func changeTranslations(to memory: GuestMemory, _ done: @escaping @Sendable (Outcome) -> Void) {
    moveDevice(to: memory) { [self] result in
      switch result {
      case .success:
        state.value.protocolState.take(memory)
        findRings { done(.success) }
      case .failure(let error):
        closeDevice(because: error) { [self] _ in done(outcome(.failure(error))) }
      }
    }
  }

  /// Finds the rings that no device has in memory as it is now, and hands those that are complete to a device that runs.
  func findRings(then: @escaping @Sendable () -> Void) {
    guard state.value.protocolState.memory.isTranslated else { return then() }
    let isConfigured = state.value.isConfigured
    let (memory, isArriving) = (state.value.protocolState.memory, state.value.protocolState.isArriving)
    for vring in state.value.protocolState.vrings where vring.isStarted && !(isConfigured && vring.started != nil) {
      do throws(VhostUserError) {
        try state.value.protocolState.vrings[vring.index].find(in: memory, isArriving: isArriving)
      } catch {
        log.error("\(error.with(socket: name))")
        continue
      }
      guard isConfigured, let setup = state.value.protocolState.vrings[vring.index].setup else { continue }
      return run {
        device.setVring(setup, completion: $0)
      } then: { [self] result in
        if case .failure(let error) = result {
          deviceFailed(error)
          return then()
        }
        watchInbandCalls()
        offerDoorbells(of: vring.index)
        log.debug("vring \(vring.index) is translated and served")
        findRings(then: then)
      }
    }
    then()
  }

  /// A ring of the device needs a translation.
  func translationMissing(_ miss: AddressMap.Miss, ring index: Int) {
    let protocolState = state.value.protocolState
    guard protocolState.vrings.indices.contains(index), protocolState.vrings[index].started != nil else { return }
    log.trace("vring \(index) waits for the translation of 0x\(String(miss.address, radix: 16))")
    state.value.misses.set([miss], of: index)
    askForTranslations()
  }

  /// Asks the front-end for what rings wait for, and once more later on for what does not come.
  func askForTranslations() {
    let protocolState = state.value.protocolState
    // While the device is moved it may miss in the new memory what is in the old one. The end of that comes back here.
    guard protocolState.memory.isTranslated, state.value.end == nil, !state.value.isBusy else { return }
    for vring in protocolState.vrings {
      if let waiting = vring.waiting {
        state.value.misses.set(waiting.misses, of: vring.index)
      } else if !vring.isStarted {
        state.value.misses.set([], of: vring.index)
      }
    }
    state.value.misses.settle(in: protocolState.memory.addressMap)
    guard !state.value.misses.isEmpty else { return }
    if state.value.backChannel == nil && !state.value.isLackOfBackChannelSaid {
      state.value.isLackOfBackChannelSaid = true
      log.warning(
        "the front-end has an IOMMU and no back-channel (SET_BACKEND_REQ_FD), so it cannot be asked for translations")
    }
    for miss in state.value.misses.takeDue(at: MonotonicClock.nanoseconds) {
      sendBack(.iotlb(IOTLBPayload(.miss, address: miss.address, size: 0, access: miss.access)))
    }
    guard !state.value.isAskingAgain else { return }
    state.value.isAskingAgain = true
    loop.run(after: Int(TranslationMisses.patience / 1_000_000)) { [self] in
      state.value.isAskingAgain = false
      askForTranslations()
    }
  }
}
