public import Virtio

extension DeviceContext {
  /// Configures the device (``Device/configure(_:)``), its DMA map first if it has one.
  ///
  /// - Parameters:
  ///   - setup: What it is configured with.
  ///   - completion: Called with the result. After a failure the device is as it was before, unmapped.
  public func configure(_ setup: DeviceSetup, completion: @escaping Completion<Void>) {
    perform("configure") { held in
      try held.configure(setup)
    } completion: {
      completion($0)
    }
  }

  /// Does what can be done before ``configure(_:completion:)``, while another device still serves the rings: checks that the
  /// device offers all that is in the setup, and maps guest memory.
  ///
  /// - Parameters:
  ///   - setup: What it will be configured with; where its rings stand then may not be known yet.
  ///   - completion: Called with the result. After a success the device has to be configured or closed.
  public func prepare(_ setup: DeviceSetup, completion: @escaping Completion<Void>) {
    perform("prepare") { held in
      try held.prepare(setup)
    } completion: {
      completion($0)
    }
  }

  /// Closes the device (``Device/close()``) and unmaps guest memory. A device that is not configured is left alone.
  ///
  /// - Parameter completion: Called with where its vrings stand. After a failure the device may still use guest memory,
  ///   which is kept, and it cannot be configured until a later close has succeeded.
  public func close(completion: @escaping Completion<[VringState]>) {
    perform("close") { held in
      try held.close()
    } completion: {
      completion($0)
    }
  }

  /// Tells the device about a vring (``Device/setVring(_:enabled:)``).
  public func setVring(_ vring: DeviceSetup.Vring, completion: @escaping Completion<Void>) {
    perform("setVring") { held in
      try held.setVring(vring)
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
  /// What is new is mapped before the device is told, and what is gone is unmapped after; only an address that stands for
  /// other memory from now on has to go first.
  ///
  /// - Parameter completion: Called with the result. After a failure the device has to be closed.
  public func changeMemory(to new: GuestMemory, completion: @escaping Completion<Void>) {
    perform("memoryChanged") { held in
      try held.changeMemory(to: new)
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
      try held.checkNotStuck()
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

  /// Writes a piece of the configuration space (``ConfigurationSpace/write(_:at:isRestoring:)``).
  public func writeConfiguration(
    _ bytes: [UInt8], at offset: Int, isRestoring: Bool, completion: @escaping Completion<Void>
  ) {
    use("writeConfiguration", \.configuration, "configuration space", completion) {
      try $0.write(bytes, at: offset, isRestoring: isRestoring)
    }
  }

  /// Begins or ends the noting of pages written (``DirtyTracking/setLog(_:)``).
  public func setLog(_ log: DirtyLog?, completion: @escaping Completion<Void>) {
    use("setLog", \.dirtyTracking, "dirty log", completion) { try $0.setLog(log) }
  }

  /// Tells the network where the guest is to be found (``GuestAnnouncement/announce(_:)``).
  public func announce(_ address: MACAddress, completion: @escaping Completion<Void>) {
    use("announce", \.announcement, "announcement of guests", completion) { try $0.announce(address) }
  }

  /// Sets the MTU (``MTUControl/setMTU(_:)``).
  public func setMTU(_ mtu: UInt16, completion: @escaping Completion<Void>) {
    use("setMTU", \.mtuControl, "MTU that can be set", completion) { try $0.setMTU(mtu) }
  }

  /// Finds the doorbell of a vring (``NotifyArea/doorbell(of:)``).
  public func doorbell(of index: Int, completion: @escaping Completion<Doorbell?>) {
    use("doorbell", \.notifyArea, "doorbells", completion) { try $0.doorbell(of: index) }
  }

  /// Saves the device's own state (``StateTransfer/saveState()``).
  public func saveState(completion: @escaping Completion<[UInt8]>) {
    use("saveState", \.stateTransfer, "state of its own", completion) { try $0.saveState() }
  }

  /// Loads the device's own state (``StateTransfer/loadState(_:)``).
  public func loadState(_ bytes: [UInt8], completion: @escaping Completion<Void>) {
    use("loadState", \.stateTransfer, "state of its own", completion) { try $0.loadState(bytes) }
  }

  /// Prepares the device for memory that arrives late (``PostcopyServing/beginPostcopy()``). Its operations have a thread of
  /// their own from then on.
  public func beginPostcopy(completion: @escaping Completion<Void>) {
    giveThread()
    use("beginPostcopy", \.postcopy, "way to wait for memory", completion) { try $0.beginPostcopy() }
  }

  /// Tells the device that all memory has arrived (``PostcopyServing/endPostcopy()``).
  public func endPostcopy(completion: @escaping Completion<Void>) {
    use("endPostcopy", \.postcopy, "way to wait for memory", completion) { try $0.endPostcopy() }
  }

  /// Finds an object that others may share (``SharedObjects/sharedObject(_:)``).
  public func sharedObject(_ uuid: [UInt8], completion: @escaping Completion<OwnedFD?>) {
    use("sharedObject", \.sharedObjects, "shared objects", completion) { $0.sharedObject(uuid) }
  }

  /// Hands the device an object that it wanted (``SharedObjects/sharedObjectFound(_:_:)``).
  public func sharedObjectFound(_ uuid: [UInt8], _ object: OwnedFD?, completion: @escaping Completion<Void>) {
    use("sharedObjectFound", \.sharedObjects, "shared objects", completion) { $0.sharedObjectFound(uuid, object) }
  }

  /// Uses a capability; an error where this device lacks it.
  private func use<Capability, Value: Sendable>(
    _ name: String, _ path: any KeyPath<DeviceCapabilities, Capability?> & Sendable, _ what: String,
    _ completion: @escaping Completion<Value>, _ body: @escaping @Sendable (Capability) throws -> Value
  ) {
    perform(name) { held in
      guard let capability = held.capabilities[keyPath: path] else {
        throw VDPAError(.notOffered, "the device has no \(what)")
      }
      try held.checkNotStuck()
      return try body(capability)
    } completion: {
      completion($0)
    }
  }
}
