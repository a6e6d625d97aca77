internal import SystemPackage
internal import VDPA
internal import Virtio

/// The operations of a device, each run between two bursts.
extension RingServer {
  /// Starts vrings. After an error nothing has changed.
  func configure(_ setup: DeviceSetup) throws {
    guard !isConfigured else {
      throw SimulatorError(.outOfState, "simulated device \(device) is configured already; close it first")
    }
    let before = features
    // Rings are laid out by them.
    take(setup.features)
    do {
      if settings.translation == .platform { try IOMMUDomain(map: dmaMap).map(setup.memory.addressMap.ranges) }
      memory = dmaMap.addressMap
      guestMemory = setup.memory
      isBetweenMemories = false
      for vring in setup.vrings { try start(vring.description, enabled: vring.isEnabled) }
    } catch {
      _ = close()
      take(before)
      throw error
    }
    observer = setup.observer
    isConfigured = true
    findQueues()
    for vring in vrings.values { greet(vring) }
  }

  /// Stops all vrings. What is in flight is finished, at once.
  ///
  /// - Returns: Where they stand.
  func close() -> [VringState] {
    finish()
    let states = vrings.values.map(\.state)
    forgetAll()
    if settings.translation == .platform { IOMMUDomain(map: dmaMap).clear() }
    memory = dmaMap.addressMap
    return states
  }

  /// Becomes a device that is not configured, without touching memory.
  func forgetAll() {
    for queue in queues { queue.drop() }
    for vring in vrings.values { unwatchKick(vring) }
    vrings = [:]
    queues = []
    doorbells = []
    observer = nil
    guestMemory = .empty
    isConfigured = false
    isSuspended = false
    isBetweenMemories = false
  }

  /// Finishes what is in flight.
  ///
  /// - Parameter vring: Of the queue that it is of; nil for all.
  private func finish(of vring: ServedVring? = nil) {
    for queue in queues where vring == nil || queue.vrings.contains(where: { $0 === vring }) {
      queue.finish()
      queue.vrings.forEach(post)
    }
  }

  /// Stops one vring, and with it the queue that it is of.
  func stopVring(_ index: Int) throws -> VringState {
    guard let vring = vrings[index] else {
      throw SimulatorError(.badVring, "vring \(index) is not running, so it cannot be stopped")
    }
    finish(of: vring)
    guard !isGone else { throw faults.vanished(.stopVring) }
    queues.removeAll { queue in queue.vrings.contains { $0 === vring } }
    unwatchKick(vring)
    vrings[index] = nil
    doorbells.remove(index)
    return vring.state
  }

  /// Stands still with nothing in flight.
  func suspend() throws -> [VringState] {
    guard isConfigured else {
      throw SimulatorError(.outOfState, "simulated device \(device) is not configured, so it cannot be suspended")
    }
    finish()
    guard !isGone else { throw faults.vanished(.suspend) }
    isSuspended = true
    return vrings.values.map(\.state)
  }

  func resume() throws {
    guard isSuspended else {
      throw SimulatorError(.outOfState, "simulated device \(device) is not suspended, so it cannot be resumed")
    }
    isSuspended = false
    for vring in vrings.values { greet(vring) }
  }

  /// What a device is like that nobody has claimed. Only the faults that it has been given stay.
  func reset() {
    _ = close()
    take([])
    log = nil
    random = SeededRandom(seed: settings.seed)
    dmaMap.unmapAll()
    memory = dmaMap.addressMap
    board.reset()
  }

  func setFeatures(_ new: Features) throws {
    let new = new.subtracting(.protocolFeatures)
    guard !isConfigured || new == features else {
      let difference = new.symmetricDifference(features)
      throw SimulatorError(
        .outOfState,
        "simulated device \(device) runs and cannot change its features (\(difference.describe(for: settings.type))); close it "
          + "first")
    }
    take(new)
  }

  /// Changes a vring that runs, or starts one. A device that is not configured has nothing to do: it will be told again.
  func setVring(_ description: VringDescription, enabled: Bool) throws {
    guard isConfigured else {
      _ = try layout(description)
      return
    }
    guard let vring = vrings[description.index] else {
      try start(description, enabled: enabled)
      findQueues()
      if let vring = vrings[description.index] { greet(vring) }
      return
    }
    let old = vring.description
    guard
      (old.size, old.descriptor, old.avail, old.used)
        == (description.size, description.descriptor, description.avail, description.used)
    else {
      throw SimulatorError(
        .badVring, "vring \(description.index) runs and cannot change its size or addresses; stop it first")
    }
    if description.kick !== old.kick && !vring.isBroken {
      let token = try watchKick(description)
      unwatchKick(vring)
      vring.kickToken = token
    }
    let isLoggedElsewhere = old.logAddress != description.logAddress
    vring.description = description
    vring.isEnabled = enabled
    if isLoggedElsewhere { attachLog(to: vring) }
    // Whoever handed the guest's new descriptor over may have missed a call to the old one.
    if description.call !== old.call { greet(vring) }
  }

  /// Makes memory reachable for a device that translates by itself.
  func map(_ range: AddressMap.Range) throws {
    try dmaMap.map(range)
    isMapRevoked = false
    memory = dmaMap.addressMap
  }

  /// Makes memory unreachable for a device that translates by itself. If a ring was in it, the device keeps still until
  /// it has been told that the change is complete.
  func unmap(start: UInt64, size: UInt64) throws {
    finish()
    // A device that has vanished reaches nothing, and whoever cleans up behind it is not to be told otherwise.
    guard !isMapRevoked else { return }
    try dmaMap.unmap(start: start, size: size)
    memory = dmaMap.addressMap
    if isConfigured && vrings.values.contains(where: { !$0.isBroken && (try? ring($0.description)) == nil }) {
      isBetweenMemories = true
    }
  }

  /// Reaches no memory from now on: the IOMMU lets it at none.
  func fence() {
    finish()
    dmaMap.unmapAll()
    memory = dmaMap.addressMap
    isBetweenMemories = true
  }

  /// Finds the rings in the memory as it is now. After an error none of them is touched any more.
  func changeMemory(from old: GuestMemory, to new: GuestMemory) throws {
    guard isConfigured else { return }
    finish()
    guard !isGone else { throw faults.vanished(.memoryChanged) }
    isBetweenMemories = true
    guestMemory = new
    if settings.translation == .platform {
      let (gone, come) = old.difference(to: new)
      defer { memory = dmaMap.addressMap }
      try IOMMUDomain(map: dmaMap).replace(gone, by: come)
    }
    for vring in vrings.values where !vring.isBroken {
      vring.ring.move(to: try ring(vring.description))
      vring.isMissReported = false
      attachLog(to: vring)
    }
    isBetweenMemories = false
  }

  // MARK: Dirty tracking

  /// Begins or ends the noting of writes. What is in flight is noted when it is written.
  func setLog(_ new: DirtyLog?) {
    log = new
    for vring in vrings.values { attachLog(to: vring) }
  }

  private func attachLog(to vring: ServedVring) {
    let (memory, used) = (guestMemory, notedAddress(of: vring.description))
    vring.ring.log = log.map { RingLog($0, memory: memory, used: used) }
  }

  /// Under which guest physical address writes to a device area are noted. Behind an IOMMU the front-end names it as the
  /// guest does, and the log knows nothing of that: there it is noted where it is.
  private func notedAddress(of description: VringDescription) -> UInt64? {
    guard let address = description.logAddress else { return nil }
    return guestMemory.isTranslated ? guestMemory.guestAddress(ofDevice: description.used) : address
  }

  // MARK: Parts of operations

  private func take(_ new: Features) {
    features = new.subtracting(.protocolFeatures)
    headerLength = NetHeader.length(for: features)
    isMergeable = features.contains(.netMergeableBuffers)
  }

  private func start(_ description: VringDescription, enabled: Bool) throws {
    guard vrings[description.index] == nil else {
      throw SimulatorError(.badVring, "vring \(description.index) is started twice")
    }
    guard !isBetweenMemories else {
      throw SimulatorError(.outOfState, "vring \(description.index) cannot be started while guest memory changes")
    }
    let ring = try ring(description)
    guard description.state.nextAvail == ring.start || !settings.without.contains(.anyStart) else {
      throw SimulatorError(
        .badVring, "vring \(description.index) is to start at \(description.state.nextAvail), not at its beginning")
    }
    let vring: ServedVring
    do throws(VirtioError) {
      vring = try ServedVring(
        description, isEnabled: enabled, memory: ring, features: features, statistics: board[description.index])
    } catch {
      throw SimulatorError(.badVring, "vring \(description.index): \(error)")
    }
    vring.kickToken = try watchKick(description)
    vrings[description.index] = vring
    attachLog(to: vring)
  }

  private func layout(_ description: VringDescription) throws(SimulatorError) -> RingLayout {
    do throws(VirtioError) {
      return try RingLayout(RingLayout.Format(for: features), size: description.size)
    } catch {
      throw SimulatorError(.badVring, "vring \(description.index): \(error)")
    }
  }

  private func ring(_ description: VringDescription) throws(SimulatorError) -> RingMemory {
    let layout = try layout(description)
    do throws(VirtioError) {
      return try RingMemory(
        layout, descriptor: description.descriptor, avail: description.avail, used: description.used,
        memory: memory.view)
    } catch {
      throw SimulatorError(.badVring, "vring \(description.index): \(error)")
    }
  }

  /// Makes queues of vrings that have none, as far as all that a queue needs is there.
  private func findQueues() {
    for (index, vring) in vrings.sorted(by: { $0.key < $1.key }) {
      guard !queues.contains(where: { queue in queue.vrings.contains { $0 === vring } }) else { continue }
      switch disk {
      case nil:
        guard index % 2 == 0, let transmit = vrings[index + 1] else { continue }
        queues.append(NetPair(receive: vring, transmit: transmit, server: self))
      case let disk?: queues.append(BlockQueue(vring, disk: disk, server: self))
      }
    }
  }

  /// Asks for kicks and calls once, for what may have been missed before the ring was ours.
  private func greet(_ vring: ServedVring) {
    guard !isSuspended, !isBetweenMemories, !vring.isBroken, !faults.isActive(.stall) else { return }
    vring.ring.setWantsKicks(true)
    vring.call()
    board[vring.index] = vring.statistics
  }

  private func watchKick(_ description: VringDescription) throws(SimulatorError) -> UInt64? {
    guard let kick = description.kick else { return nil }
    let token = nextToken
    do throws(Errno) {
      try epoll.add(kick.descriptor, token: token, interest: [.readable, .edgeTriggered])
    } catch {
      throw SimulatorError(
        .badVring, "vring \(description.index): its kick descriptor cannot be watched", underlying: error)
    }
    nextToken += 1
    kickTokens[token] = description.index
    return token
  }

  func unwatchKick(_ vring: ServedVring) {
    guard let token = vring.kickToken, let kick = vring.description.kick else { return }
    vring.kickToken = nil
    kickTokens[token] = nil
    epoll.remove(kick.descriptor)
  }
}
