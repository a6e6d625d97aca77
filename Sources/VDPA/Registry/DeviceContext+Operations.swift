public import Virtio

extension DeviceContext {
  /// Configures the device (``Device/configure(_:)``), its DMA map first if it has one.
  ///
  /// - Parameters:
  ///   - setup: What it is configured with.
  ///   - completion: Called with the result. After a failure the device is as it was before, unmapped.
  public func configure(_ setup: DeviceSetup, completion: @escaping Completion<Void>) {
    perform("configure") { held in
      try held.check(setup)
      try held.map(setup.memory.addressMap.ranges)
      do {
        try held.device.configure(setup)
      } catch {
        held.unmap(setup.memory.addressMap.ranges)
        throw error
      }
      held.memory = setup.memory
    } completion: {
      completion($0)
    }
  }

  /// Closes the device (``Device/close()``) and unmaps guest memory. A device that is not configured is left alone.
  ///
  /// - Parameter completion: Called with where its vrings stand.
  public func close(completion: @escaping Completion<[VringState]>) {
    perform("close") { held in
      held.close()
    } completion: {
      completion($0)
    }
  }

  /// Tells the device about a vring (``Device/setVring(_:enabled:)``).
  public func setVring(_ vring: DeviceSetup.Vring, completion: @escaping Completion<Void>) {
    perform("setVring") { held in
      try held.check(vring.description)
      try held.device.setVring(vring.description, enabled: vring.isEnabled)
    } completion: {
      completion($0)
    }
  }

  /// Tells the device about features accepted anew (``Device/setFeatures(_:)``).
  public func setFeatures(_ features: Features, completion: @escaping Completion<Void>) {
    perform("setFeatures") { held in
      try held.device.setFeatures(features)
    } completion: {
      completion($0)
    }
  }

  /// Tells the device that its guest has arrived by migration (``Device/migrationDone()``).
  public func migrationDone(completion: @escaping Completion<Void>) {
    perform("migrationDone") { held in
      try held.device.migrationDone()
    } completion: {
      completion($0)
    }
  }

  /// Moves the device to another snapshot of guest memory (``Device/memoryChanged(from:to:)``). A device that is not
  /// configured is left alone.
  ///
  /// What is new is mapped before, what is gone is unmapped after the device has been told.
  public func changeMemory(to new: GuestMemory, completion: @escaping Completion<Void>) {
    perform("memoryChanged") { held in
      guard let old = held.memory else { return }
      let (gone, come) = old.difference(to: new)
      // An address that stands for other memory from now on cannot be mapped twice; such a range goes first, and the
      // device, whose rings the front-end keeps quiet, has nothing there meanwhile.
      held.unmap(gone)
      do {
        try held.map(come)
        try held.device.memoryChanged(from: old, to: new)
      } catch {
        _ = held.device.close()
        held.unmap(come + old.addressMap.ranges.filter { range in !gone.contains { $0.start == range.start } })
        held.memory = nil
        throw error
      }
      held.memory = new
    } completion: {
      completion($0)
    }
  }

  /// Stops one vring (``VringControl/stopVring(_:)``); only for a device that ``canStopVrings``.
  ///
  /// - Parameters:
  ///   - index: The vring.
  ///   - completion: Called with where it stands.
  public func stopVring(_ index: Int, completion: @escaping Completion<VringState>) {
    perform("stopVring") { held in
      guard let control = held.capabilities.vringControl else {
        throw VDPAError(.notOffered, "the device cannot stop single vrings")
      }
      return try control.stopVring(index)
    } completion: {
      completion($0)
    }
  }

  /// Reads the configuration space (``ConfigurationSpace``); empty for a device that has none.
  public func readConfiguration(completion: @escaping Completion<[UInt8]>) {
    perform("readConfiguration") { held in
      held.capabilities.configuration?.bytes ?? []
    } completion: {
      completion($0)
    }
  }
}

extension DeviceContext.Held {
  /// Closes the device and unmaps guest memory, if it is configured.
  mutating func close() -> [VringState] {
    guard let memory else { return [] }
    let states = device.close()
    unmap(memory.addressMap.ranges)
    self.memory = nil
    return states
  }

  /// Refuses what the device has not offered, whatever the caller has checked.
  fileprivate func check(_ setup: DeviceSetup) throws(VDPAError) {
    let attributes = device.attributes
    let excess = setup.features.subtracting(attributes.features)
    guard excess.isEmpty else {
      throw VDPAError(.notOffered, "it does not offer \(excess.describe(for: attributes.type))")
    }
    for range in setup.memory.addressMap.ranges
    where !attributes.iovaRange.contains(range.start) || !attributes.iovaRange.contains(range.start + range.size - 1) {
      throw VDPAError(
        .notOffered,
        "guest memory at 0x\(String(range.start, radix: 16)) (0x\(String(range.size, radix: 16)) bytes) is outside of "
          + "the addresses that the device reaches, 0x\(String(attributes.iovaRange.lowerBound, radix: 16)) to "
          + "0x\(String(attributes.iovaRange.upperBound, radix: 16))")
    }
    for vring in setup.vrings { try check(vring.description) }
  }

  fileprivate func check(_ vring: VringDescription) throws(VDPAError) {
    let attributes = device.attributes
    guard vring.index >= 0, vring.index < attributes.vringCount else {
      throw VDPAError(.notOffered, "it has \(attributes.vringCount) vrings and no vring \(vring.index)")
    }
    guard vring.size <= attributes.maxRingSize else {
      throw VDPAError(
        .notOffered,
        "vring \(vring.index) has \(vring.size) descriptors; the device takes \(attributes.maxRingSize) at most")
    }
    guard attributes.startsAnywhere || vring.state.nextAvail == 0 else {
      throw VDPAError(
        .notOffered, "vring \(vring.index) is to start at \(vring.state.nextAvail); the device starts at 0 only")
    }
  }

  fileprivate func map(_ ranges: [AddressMap.Range]) throws {
    guard let translation = capabilities.dmaTranslation else { return }
    for (i, range) in ranges.enumerated() {
      do {
        try translation.map(range)
      } catch {
        unmap(Array(ranges[..<i]))
        throw error
      }
    }
  }

  fileprivate func unmap(_ ranges: [AddressMap.Range]) {
    guard let translation = capabilities.dmaTranslation else { return }
    // A range that cannot be unmapped stays mapped in the device's view of memory that its owner keeps alive.
    for range in ranges { try? translation.unmap(start: range.start, size: range.size) }
  }
}
