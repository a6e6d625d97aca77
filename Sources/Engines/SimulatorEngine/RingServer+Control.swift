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
      isBetweenMemories = false
      for vring in setup.vrings { try start(vring.description, enabled: vring.isEnabled) }
    } catch {
      _ = close()
      take(before)
      throw error
    }
    observer = setup.observer
    isConfigured = true
    findPairs()
    for vring in vrings.values { greet(vring) }
  }

  /// Stops all vrings. A burst that was begun is finished, so nothing is in flight.
  ///
  /// - Returns: Where they stand.
  func close() -> [VringState] {
    let states = vrings.values.map(\.state)
    for vring in vrings.values { unwatchKick(vring) }
    vrings = [:]
    pairs = []
    observer = nil
    isConfigured = false
    isBetweenMemories = false
    if settings.translation == .platform { IOMMUDomain(map: dmaMap).clear() }
    memory = dmaMap.addressMap
    return states
  }

  /// What a device is like that nobody has claimed. Only a thread that was stopped by hand stays stopped.
  func reset() {
    _ = close()
    take([])
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
        "simulated device \(device) runs and cannot change its features (\(difference.describe(for: .net))); close it "
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
      findPairs()
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
    vring.description = description
    vring.isEnabled = enabled
    // Whoever handed the guest's new descriptor over may have missed a call to the old one.
    if description.call !== old.call { greet(vring) }
  }

  /// Makes memory reachable for a device that translates by itself.
  func map(_ range: AddressMap.Range) throws {
    try dmaMap.map(range)
    memory = dmaMap.addressMap
  }

  /// Makes memory unreachable for a device that translates by itself. If a ring was in it, the device keeps still until
  /// it has been told that the change is complete.
  func unmap(start: UInt64, size: UInt64) throws {
    try dmaMap.unmap(start: start, size: size)
    memory = dmaMap.addressMap
    if isConfigured && vrings.values.contains(where: { !$0.isBroken && (try? ring($0.description)) == nil }) {
      isBetweenMemories = true
    }
  }

  /// Finds the rings in the memory as it is now. After an error none of them is touched any more.
  func changeMemory(from old: GuestMemory, to new: GuestMemory) throws {
    guard isConfigured else { return }
    isBetweenMemories = true
    if settings.translation == .platform {
      let (gone, come) = old.difference(to: new)
      defer { memory = dmaMap.addressMap }
      try IOMMUDomain(map: dmaMap).replace(gone, by: come)
    }
    for vring in vrings.values where !vring.isBroken { vring.ring.move(to: try ring(vring.description)) }
    isBetweenMemories = false
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
    vrings[description.index] = ServedVring(
      description, isEnabled: enabled, memory: ring, features: features, kickToken: try watchKick(description),
      statistics: board[description.index])
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

  private func findPairs() {
    pairs = (0..<settings.queues).compactMap { i in
      guard let receive = vrings[2 * i], let transmit = vrings[2 * i + 1] else { return nil }
      return Pair(receive: receive, transmit: transmit)
    }
  }

  /// Asks for kicks and calls once, for what may have been missed before the ring was ours.
  private func greet(_ vring: ServedVring) {
    guard !isPaused, !isBetweenMemories, !vring.isBroken else { return }
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
