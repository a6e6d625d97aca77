import SystemPackage
import VDPA
import Virtio

/// What one connection has agreed upon: the protocol's state machine, without any effect.
///
/// Each message is checked against what was negotiated and against the state of the rings and is then taken in, or refused
/// with nothing changed. Whether the device is configured is the session's business and told here.
struct SessionState {
  private(set) var offer: SessionOffer
  /// SET_FEATURES; nil before.
  private(set) var accepted: Features?
  /// SET_PROTOCOL_FEATURES.
  private(set) var protocolFeatures: ProtocolFeatures = []
  private(set) var status: DeviceStatus = []
  private(set) var memory = GuestMemory.empty
  /// SET_LOG_BASE; nil before.
  var log: DirtyLog?
  /// SET_LOG_FD.
  var logSignal: OwnedFD?
  var vrings: [SessionVring]
  /// A postcopy migration that has been advised and not ended.
  var postcopy: SessionPostcopy?
  /// SET_INFLIGHT_FD.
  var inflight: InflightRecord?

  init(offer: SessionOffer) {
    self.offer = offer
    vrings = (0..<offer.vringCount).map { SessionVring(index: $0) }
  }

  /// The features that the device hears of: without those that belong to the protocol.
  var deviceFeatures: Features { (accepted ?? []).subtracting([.protocolFeatures, .logAll]) }

  /// What GET_VRING_BASE answers.
  func base(of index: Int) -> UInt32 { vrings[index].base(in: RingLayout.Format(for: deviceFeatures)) }

  /// What the device is configured with when it is ready.
  func setup(observer: any DeviceObserver) -> DeviceSetup {
    DeviceSetup(
      features: deviceFeatures, memory: memory, vrings: vrings.compactMap(\.setup), observer: observer)
  }

  /// What is missing before the device can be configured, in words; nil when nothing is.
  var missing: String? {
    if accepted == nil { return "the front-end has not accepted features yet (SET_FEATURES)" }
    if memory.regions.isEmpty { return "the front-end has not shared guest memory yet" }
    if postcopy?.isAwaitingEnd == true { return "the front-end has not taken note of all guest memory yet (postcopy)" }
    for vring in vrings.prefix(offer.type.ringsPerQueue) where vring.started == nil {
      if let loss = vring.loss { return "vring \(vring.index) is lost: \(loss); reset the guest's driver" }
      return vring.waiting?.reason ?? "vring \(vring.index) is not started (SET_VRING_KICK)"
    }
    if protocolFeatures.contains(.status) && !status.contains(.driverOK) {
      return "the guest's driver is not ready (DRIVER_OK)"
    }
    return nil
  }

  /// Whether guest memory may lack pages that are still on their way.
  var isArriving: Bool { postcopy?.isListening == true }

  private var anyStarted: Bool { vrings.contains(where: \.isStarted) }

  /// Whether no ring is started, so that nothing may be written to guest memory and nothing be sent (vhost-user, Suspended
  /// device state).
  var isSuspended: Bool { !anyStarted }

  /// In which address space the front-end names rings.
  private var addressing: RingAddressing {
    protocolFeatures.contains(.guestAddresses) || memory.isTranslated ? .device : .user
  }

  // MARK: Messages

  /// Takes a message in.
  ///
  /// - Returns: What is left to do for it.
  /// - Throws: ``VhostUserError``; then nothing has changed.
  mutating func apply(_ message: FrontendMessage) throws(VhostUserError) -> SessionAction {
    try checkLegality(of: message)
    switch message {
    case .getFeatures: return .value(offer.wireFeatures.rawValue)
    case .setFeatures(let features): return try setFeatures(features)
    case .getProtocolFeatures: return .value(offer.protocolFeatures.rawValue)
    case .setProtocolFeatures(let features): return try setProtocolFeatures(features)
    case .getQueueNum: return .value(UInt64(offer.queues))
    // The one says that the connection starts, which it has; the other is deprecated and, by the specification, ignored.
    case .setOwner, .resetOwner: return .none
    case .setMemoryTable(let table, _) where postcopy?.isAwaitingEnd == true && table.regions.isEmpty:
      return try endPostcopyMemory()
    case .endMemoryRegions: return try endPostcopyMemory()
    case .setMemoryTable, .addMemoryRegion, .removeMemoryRegion:
      let memory = try changedMemory(message)
      return try .changeMemory(memory, answer: postcopyAnswer(to: message, memory))
    case .getMaximumMemorySlots: return .value(UInt64(GuestMemory.maxRegions))
    case .setVringNum(let payload): return try setVringNum(payload)
    case .setVringAddress(let payload): return try setVringAddress(payload)
    case .setVringBase(let payload): return try setVringBase(payload)
    case .getVringBase(let index): return .stopVring(try vringIndex(index))
    case .setVringKick(let index, let descriptor):
      let index = try vringIndex(index)
      return try start(index, kick: try eventFD(descriptor, "kick", index))
    case .vringKick(let index):
      // A ring without an eventfd is started by its first kick.
      let index = try vringIndex(index)
      return vrings[index].isStarted ? .kick(index) : try start(index, kick: nil)
    case .setVringCall(let index, let descriptor):
      let index = try vringIndex(index)
      var vring = vrings[index]
      let call = try eventFD(descriptor, "call", index)
      let isInband = call == nil && vring.isStarted && protocolFeatures.contains(.inbandNotifications)
      vring.call = try isInband ? internalEventFD() : call
      vring.isCallInternal = isInband
      return try replaceStarted(vring)
    case .setVringError(let index, let descriptor):
      let index = try vringIndex(index)
      var vring = vrings[index]
      vring.error = try eventFD(descriptor, "error", index)
      return try replaceStarted(vring)
    case .setVringEnable(let index, let enabled):
      var vring = vrings[try vringIndex(index)]
      vring.isEnabled = enabled
      return replace(vring)
    case .getConfiguration(let payload): return .readConfiguration(payload)
    case .setStatus(let status):
      // Zero comes before GET_VRING_BASE when a guest stops: the rings keep their state (reference order of QEMU).
      self.status = status
      return .none
    case .getStatus:
      // FEATURES_OK stands only once the features have been agreed upon.
      return .value(UInt64((accepted == nil ? status.subtracting(.featuresOK) : status).rawValue))
    case .netSetMTU(let mtu): return .setMTU(mtu)
    case .sendRARP(let address): return .announce(address)
    case .setConfiguration(let payload): return .writeConfiguration(payload)
    case .setBackendRequestFD(let descriptor): return .openBackChannel(descriptor)
    case .resetDevice:
      status = []
      return .reset
    case .setVringEndian(let index, let isBigEndian):
      guard !isBigEndian else {
        throw VhostUserError(.notNegotiated, "rings of big-endian guests are not served").with(ring: Int(index))
      }
      return .none
    case .setDeviceStateFD(let payload, let descriptor): return .transferState(payload.direction, descriptor)
    case .checkDeviceState: return .checkState
    case .getSharedObject(let payload): return .findObject(payload)
    case .postcopyAdvise: return try advisePostcopy()
    case .postcopyListen: return try listenPostcopy()
    case .postcopyEnd: return try endPostcopy()
    case .iotlb(let payload): return try changeTranslations(payload)
    case .getInflightFD(let payload): return try makeInflightRecord(payload)
    case .setInflightFD(let payload, let descriptor): return try setInflightRecord(payload, descriptor)
    case .setLogBase(let payload, let descriptor): return try setLogBase(payload, descriptor)
    case .setLogFD(let descriptor): return try setLogFD(descriptor)
    case .getVringBaseSkipDrain:
      throw VhostUserError(.notNegotiated, "the socket does not offer what this needs")
    }
  }

  /// Refuses what the state of the rings does not allow (``RequestRule/legality``).
  private func checkLegality(of message: FrontendMessage) throws(VhostUserError) {
    switch RequestRule.table[message.request]?.legality ?? .always {
    case .always: return
    case .ringStopped:
      guard let ring = message.ring else { return }
      let index = try vringIndex(ring)
      guard !vrings[index].isStarted else {
        throw VhostUserError(.outOfState, "the vring is started; it has to be stopped first (GET_VRING_BASE)")
          .with(ring: index)
      }
    case .suspended:
      if let vring = vrings.first(where: \.isStarted) {
        throw VhostUserError(.outOfState, "all vrings have to be stopped first (GET_VRING_BASE)")
          .with(ring: vring.index)
      }
    }
  }

  /// Starts a ring, or takes over another kick descriptor.
  private mutating func start(_ index: Int, kick: OwnedFD?) throws(VhostUserError) -> SessionAction {
    var vring = vrings[index]
    let isInband = protocolFeatures.contains(.inbandNotifications)
    vring.kick = try kick == nil && isInband ? internalEventFD() : kick
    if isInband && vring.call == nil {
      vring.call = try internalEventFD()
      vring.isCallInternal = true
    }
    try vring.start(
      in: memory, features: deviceFeatures, addressing: addressing, isArriving: isArriving, inflight: inflight)
    try activeLog?.check(covers: memory, [vring])
    return replace(vring)
  }

  /// What stands for messages towards the device.
  private func internalEventFD() throws(VhostUserError) -> OwnedFD {
    do throws(Errno) {
      return try EventFD.make()
    } catch {
      throw VhostUserError(.system, "no eventfd can be made", errno: error)
    }
  }

  /// Puts a changed vring in its place.
  private mutating func replace(_ vring: SessionVring) -> SessionAction {
    vrings[vring.index] = vring
    return .vringChanged(vring.index)
  }

  /// All rings are as at the beginning: stopped, disabled, unknown (vhost-user, RESET_DEVICE).
  mutating func resetVrings() {
    // It knows positions of rings that begin anew; the front-end brings another one.
    inflight = nil
    let isEnabled = accepted.map { !$0.contains(.protocolFeatures) } ?? false
    for index in vrings.indices {
      // QEMU sends these once and not after a reset.
      let (call, error) = (vrings[index].isCallInternal ? nil : vrings[index].call, vrings[index].error)
      vrings[index] = SessionVring(index: index)
      (vrings[index].call, vrings[index].error, vrings[index].isEnabled) = (call, error, isEnabled)
    }
    forgetTranslations()
  }

  /// What was asked for since then of the dirty log has not come about: writes are noted where they were.
  mutating func forgetLog(since before: SessionState) {
    (accepted, log, logSignal) = (before.accepted, before.log, before.logSignal)
  }

  /// Offers from now on only what that device has too. What has been accepted before stays accepted.
  mutating func restrict(to attributes: DeviceAttributes) {
    offer.features.formIntersection(attributes.features.union(deviceFeatures))
    let others = SessionOffer.optionalProtocolFeatures.union(protocolFeatures)
    offer.protocolFeatures.formIntersection(attributes.protocolFeatures.union(others))
    offer.maxRingSize = min(offer.maxRingSize, attributes.maxRingSize)
  }

  /// Takes over guest memory that the device has taken over.
  mutating func take(_ memory: GuestMemory) { self.memory = memory }

  private mutating func setFeatures(_ features: Features) throws(VhostUserError) -> SessionAction {
    let excess = features.subtracting(offer.wireFeatures)
    guard excess.isEmpty else {
      throw VhostUserError(.notNegotiated, "not offered: \(excess.describe(for: offer.type))")
    }
    // Whether writes are noted is all that changes under a ring.
    let changed = accepted?.symmetricDifference(features).subtracting(.logAll)
    if let changed, anyStarted, !changed.isEmpty {
      throw VhostUserError(
        .outOfState, "features change while vrings are started: \(changed.describe(for: offer.type))")
    }
    if features.contains(.logAll) { try log?.check(covers: memory, vrings) }
    // Without protocol features there are no messages to enable rings with; the same features again change nothing.
    let isNew = changed?.isEmpty != true
    if let accepted, RingLayout.Format(for: accepted) != RingLayout.Format(for: features) {
      // Where a ring stood means nothing in the other format.
      for index in vrings.indices { vrings[index].nextAvail = nil }
    }
    accepted = features
    memory = memory.behindIOMMU(features.contains(.accessPlatform))
    if isNew && !features.contains(.protocolFeatures) {
      for index in vrings.indices { vrings[index].isEnabled = true }
    }
    return .featuresAccepted
  }

  private mutating func setProtocolFeatures(_ features: ProtocolFeatures) throws(VhostUserError) -> SessionAction {
    let excess = features.subtracting(offer.protocolFeatures)
    guard excess.isEmpty else { throw VhostUserError(.notNegotiated, "not offered: \(excess)") }
    guard !anyStarted || features == protocolFeatures else {
      throw VhostUserError(.outOfState, "protocol features change while vrings are started")
    }
    protocolFeatures = features
    return .none
  }

  // MARK: Vrings

  private func vringIndex(_ index: UInt32) throws(VhostUserError) -> Int {
    guard index < UInt32(vrings.count) else {
      throw VhostUserError(.indexOutOfRange, "the device has \(vrings.count) vrings").with(ring: Int(index))
    }
    return Int(index)
  }

  private mutating func setVringNum(_ payload: VringStatePayload) throws(VhostUserError) -> SessionAction {
    let index = try vringIndex(payload.index)
    let size = Int(payload.number)
    do throws(VirtioError) {
      _ = try RingLayout(RingLayout.Format(for: deviceFeatures), size: size)
    } catch {
      throw VhostUserError(.malformed, "\(error)").with(ring: index)
    }
    guard size <= offer.maxRingSize else {
      throw VhostUserError(.indexOutOfRange, "\(size) descriptors: the device takes \(offer.maxRingSize) at most")
        .with(ring: index)
    }
    vrings[index].size = size
    return .none
  }

  private mutating func setVringAddress(_ payload: VringAddressPayload) throws(VhostUserError) -> SessionAction {
    let index = try vringIndex(payload.index)
    let format = RingLayout.Format(for: deviceFeatures)
    guard payload.descriptor % RingLayout.descriptorAlignment == 0,
      payload.available % format.availAlignment == 0, payload.used % format.usedAlignment == 0
    else {
      throw VhostUserError(
        .malformed,
        "a part of the ring is misaligned (\(RingLayout.descriptorAlignment), \(format.availAlignment) and "
          + "\(format.usedAlignment) bytes are needed)"
      ).with(ring: index)
    }
    if vrings[index].isStarted {
      // The only change of a started ring is whether it is logged.
      let old = vrings[index].addresses
      guard old?.descriptor == payload.descriptor, old?.available == payload.available, old?.used == payload.used else {
        throw VhostUserError(.outOfState, "the addresses of a started vring change").with(ring: index)
      }
    }
    var vring = vrings[index]
    vring.addresses = payload
    return try replaceStarted(vring)
  }

  private mutating func setVringBase(_ payload: VringStatePayload) throws(VhostUserError) -> SessionAction {
    let index = try vringIndex(payload.index)
    // The upper half is a packed ring's used position.
    guard payload.number <= UInt32(UInt16.max) || deviceFeatures.contains(.packedRing) else {
      throw VhostUserError(.malformed, "position \(payload.number) does not fit into 16 bits").with(ring: index)
    }
    vrings[index].nextAvail = UInt16(truncatingIfNeeded: payload.number)
    return .none
  }

  /// Puts a vring in its place of which something has changed that may change while it is started.
  private mutating func replaceStarted(_ changed: SessionVring) throws(VhostUserError) -> SessionAction {
    var vring = changed
    guard vring.isStarted else {
      vrings[vring.index] = vring
      return .none
    }
    try vring.start(
      in: memory, features: deviceFeatures, addressing: addressing, isArriving: isArriving)
    try activeLog?.check(covers: memory, [vring])
    return replace(vring)
  }

  /// Anything but an eventfd could block or kill whoever writes to it.
  func eventFD(
    _ descriptor: OwnedFD?, _ name: String, _ index: Int? = nil
  ) throws(VhostUserError) -> OwnedFD? {
    guard let descriptor else { return nil }
    guard descriptor.isEventFD else {
      let error = VhostUserError(
        .wrongDescriptor, "the \(name) descriptor is not an eventfd but \(descriptor.kernelName)")
      throw index.map(error.with(ring:)) ?? error
    }
    return descriptor
  }
}
