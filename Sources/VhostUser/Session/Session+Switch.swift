import VDPA
import Virtio

/// The live switch: another device serves the rings, and the guest does not notice (design §4.1).
extension Session {
  /// Has another device serve the rings, as soon as the operation that is under way is over. Messages wait meanwhile. On the
  /// loop's thread.
  func switchDevice(_ wanted: DeviceSwitch) {
    // What the session waits for then is the front-end's, and may never come.
    if let hindrance { return refuse(wanted, hindrance) }
    state.value.switches.append(wanted)
    if !state.value.isBusy && state.value.end == nil { idle() }
  }

  /// What has to be over before anything can be switched; nil for nothing.
  private var hindrance: VDPAError? {
    if state.value.protocolState.postcopy != nil {
      return VDPAError(.operationFailed, "the guest is arriving by postcopy migration; switch when it is here")
    }
    if state.value.transfer != nil || state.value.protocolState.protocolFeatures.contains(.deviceState) {
      return VDPAError(
        .operationFailed,
        "the device has a state of its own (DEVICE_STATE), which no other device takes over while it runs")
    }
    return nil
  }

  /// Begins the hand-over that was asked for first.
  ///
  /// - Returns: Whether an operation is under way.
  func beginSwitch() -> Bool {
    // A connection that is about to end may do so because a device cannot be stopped.
    guard !state.value.switches.isEmpty, !connection.isClosed else { return false }
    let wanted = state.value.switches.removeFirst()
    guard wanted.replaced == nil || wanted.replaced === device else {
      wanted.done(.superseded)
      return beginSwitch()
    }
    begin(wanted)
    return state.value.isBusy || beginSwitch()
  }

  /// Begins a hand-over, with no operation under way.
  func begin(_ wanted: DeviceSwitch) {
    if let refusal = hindrance ?? refusal(of: wanted) {
      refuse(wanted, refusal)
    } else if state.value.isConfigured {
      handOver(wanted)
    } else if state.value.protocolState.accepted != nil {
      exchange(wanted)
    } else {
      replace(wanted)
    }
  }

  /// Nobody serves the rings yet, or nobody any more: the new device is prepared to go on.
  private func exchange(_ wanted: DeviceSwitch) {
    var preparation = handover(to: wanted.device)
    preparation.isCompared = wanted.replaced != nil
    run {
      preparation.prepareIdle(completion: $0)
    } then: { [self] result in
      switch result {
      case .success: replace(wanted)
      case .failure(let error): refuse(wanted, error)
      }
    }
  }

  private func replace(_ wanted: DeviceSwitch) {
    state.value.failure = nil
    take(wanted)
    state.value.isToBeAnnounced = state.value.wasReady
    configureIfReady()
    onChange()
  }

  private func handover(to new: DeviceContext) -> Handover {
    let protocolState = state.value.protocolState
    return Handover(
      of: protocolState.setup(observer: SessionObserver(self, device)), observer: SessionObserver(self, new),
      log: protocolState.activeLog, from: device, to: new)
  }

  /// The connection has ended before they began.
  func endSwitches() {
    let switches = state.value.switches
    state.value.switches = []
    for wanted in switches { wanted.done(.disconnected) }
  }

  /// Why a device cannot serve what this connection has agreed upon; nil when it can, as far as is known before it is asked.
  private func refusal(of wanted: DeviceSwitch) -> VDPAError? {
    let new = wanted.device
    let protocolState = state.value.protocolState
    let offered = SessionOffer.attributes(of: new)
    func lack(_ what: String) -> VDPAError {
      VDPAError(.notOffered, "\(new.handle) (\(new.driver)) lacks what the front-end has been promised: \(what)")
    }
    // What was offered may have been read already; of what was accepted it is known.
    let features = protocolState.accepted == nil ? protocolState.offer.features : protocolState.deviceFeatures
    let missing = features.subtracting(offered.features)
    if !missing.isEmpty { return lack(missing.describe(for: protocolState.offer.type)) }
    let promised =
      protocolState.protocolFeatures.isEmpty ? protocolState.offer.protocolFeatures : protocolState.protocolFeatures
    var needed = promised.intersection(SessionOffer.deviceProtocolFeatures)
    // Software may do that in its place.
    if wanted.canBorrow && protocolState.activeLog == nil { needed.remove(.logSharedMemory) }
    // A doorbell that is not there is not offered to anybody.
    let missingProtocol = needed.subtracting(offered.protocolFeatures).subtracting(.hostNotifier)
    if !missingProtocol.isEmpty { return lack(missingProtocol.description) }
    if offered.vringCount < protocolState.offer.vringCount {
      return lack("\(protocolState.offer.vringCount) vrings (it has \(offered.vringCount))")
    }
    if let size = protocolState.vrings.compactMap(\.size).max(), size > offered.maxRingSize {
      return lack("rings of \(size) descriptors (it takes \(offered.maxRingSize))")
    }
    if !offered.startsAnywhere, protocolState.vrings.contains(where: { $0.nextAvail != nil }) {
      return lack("rings that begin where the guest's stand")
    }
    return nil
  }

  private func refuse(_ wanted: DeviceSwitch, _ error: VDPAError) {
    if wanted.replaced != nil { state.value.isFailingOver = false }
    log.warning("not switched: \(error)")
    wanted.done(.failed(error))
  }

  private func take(_ wanted: DeviceSwitch) {
    let (old, device) = (state.value.device, wanted.device)
    var attributes = SessionOffer.attributes(of: device)
    if wanted.canBorrow { attributes.protocolFeatures.insert(.logSharedMemory) }
    state.value.protocolState.restrict(to: attributes)
    (state.value.device, state.value.isFailingOver) = (device, false)
    state.value.misses = TranslationMisses()
    // First, so that who hears of it finds it so.
    wanted.done(.switched)
    log.info("switched from \(old.handle) (\(old.driver)) to \(device.handle) (\(device.driver))")
    emit(.switched(from: old.handle, to: device.handle))
  }

  private func handOver(_ wanted: DeviceSwitch) {
    let new = wanted.device
    let handover = handover(to: new)
    state.value.successor = new
    // A doorbell is a page of the old device's: from here on nobody may look there.
    withdrawDoorbells()
    run { (completion: @escaping DeviceContext.Completion<Handover.Outcome>) in
      handover.run { completion(.success($0)) }
    } then: { [self] result in
      guard case .success(let outcome) = result else { return }
      let reports = state.value.earlyReports
      (state.value.successor, state.value.earlyReports) = (nil, [])
      switch outcome {
      case .moved(let rings):
        take(rings)
        // What the old one may have reported last.
        state.value.failure = nil
        take(wanted)
        for report in reports { take(report) }
        offerDoorbells()
        announceGuest()
      case .refused(let error):
        offerDoorbells()
        refuse(wanted, error)
      case .undone(let error, let rings):
        take(rings)
        offerDoorbells()
        refuse(wanted, error)
      case .stopped(let error, let rings):
        take(rings)
        state.value.isConfigured = false
        deviceFailed(error)
        emit(.notReady(reason: error.description))
        wanted.done(.failed(error))
      case .stuck(let error):
        state.value.isConfigured = false
        deviceFailed(error)
        // First, so that nobody who asks again finds the rings.
        stop(VhostUserError(.device, error.description))
        wanted.done(.failed(error))
      }
      onChange()
    }
  }

  /// Tells the network of the new device where the guest is to be found now, if its address is known.
  func announceGuest() {
    state.value.isToBeAnnounced = false
    let features = state.value.protocolState.deviceFeatures
    guard state.value.protocolState.offer.type == .net, features.contains(.netMAC), device.canAnnounce,
      state.value.isConfigured, !state.value.isBusy, state.value.end == nil
    else { return }
    run {
      device.readConfiguration(completion: $0)
    } then: { [self] result in
      guard case .success(let bytes) = result, let address = NetConfiguration(decoding: bytes)?.mac, address != .zero,
        state.value.end == nil
      else { return }
      run {
        device.announce(address, completion: $0)
      } then: { [self] result in
        if case .failure(let error) = result { log.warning("the guest was not announced: \(error)") }
      }
    }
  }
}
