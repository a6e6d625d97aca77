internal import Synchronization

/// The bus: the devices that engines have put on it, who may have them and who does.
extension Registry {
  // MARK: Devices

  /// The devices on the bus, by engine id and number. Engine −1 has none there: it makes a device for each claim.
  public var devices: [BusDevice] {
    let entries = state.withLock { state in state.engines.values.sorted { $0.handle.id < $1.handle.id } }
    return entries.flatMap { entry -> [BusDevice] in
      // Engines are somebody else's code, so they are asked under no lock.
      guard let engine = entry.engine else { return [] }
      return (0..<max(engine.attributes.deviceCount, 0)).map { BusDevice($0, of: entry, engine) }
    }
  }

  /// A device on the bus, as it is now.
  ///
  /// - Throws: ``VDPAError`` `unknownEngine`, `staleHandle`, or `unknownDevice`, also for ``DeviceHandle/software``.
  public func information(of device: DeviceHandle) throws(VDPAError) -> BusDevice {
    let (entry, engine, _) = try look(up: device)
    return BusDevice(device.device, of: entry, engine)
  }

  // MARK: Who may have them

  /// Keeps a device for one bus driver, as the `driver_override` of a device in the Linux kernel does, or lets any have it.
  ///
  /// A device that is claimed stays with whoever has it; the override holds from the next claim on.
  ///
  /// - Parameters:
  ///   - driver: The only one that may claim it; nil for any.
  ///   - device: Which device; those of engine −1 are made for whoever claims them.
  /// - Throws: ``VDPAError`` `unknownEngine`, `staleHandle` or `unknownDevice`.
  public func setDriverOverride(_ driver: BusDriver?, of device: DeviceHandle) throws(VDPAError) {
    _ = try look(up: device)
    state.withLock { state in
      guard state.engines[device.engine.id]?.handle == device.engine else { return }
      state.engines[device.engine.id]?.overrides[device.device] = driver
    }
  }

  /// For which bus drivers devices are that appear from now on; the first rule that fits decides. Devices that are there keep
  /// what they have.
  public var matchRules: [MatchRule] {
    get { state.withLock { $0.rules } }
    set { state.withLock { $0.rules = newValue } }
  }

  // MARK: Events

  /// What happens on the bus from now on. Of events that nobody takes the last 1,024 are kept.
  public var busEvents: AsyncStream<BusEvent> { events.makeStream() }

  /// Makes `delegate` hear of what happens; nil for nobody.
  public func setDelegate(_ delegate: (any BusDelegate)?) { events.setDelegate(delegate) }

  /// Puts the devices of an engine on the bus that has just been started. Its rules are settled before anybody can claim them.
  func appear(_ engine: any Engine, as handle: EngineHandle) {
    let count = max(engine.attributes.deviceCount, 0)
    let rules = matchRules
    let entry = state.withLock { $0.engines[handle.id] }
    guard var entry else { return }
    for number in 0..<count {
      let device = BusDevice(number, of: entry, engine)
      entry.overrides[number] = rules.first { $0.fits(device) }?.busDriver
    }
    entry.engine = engine
    let settled = entry
    state.withLock { $0.engines[handle.id] = settled }
    for number in 0..<count { events.send(.appeared(BusDevice(number, of: settled, engine)), from: self) }
  }
}

extension BusDevice {
  fileprivate init(_ number: Int, of entry: Registry.Entry, _ engine: any Engine) {
    let claim = entry.claims[number]
    self.init(
      handle: DeviceHandle(engine: entry.handle, device: number), engineDriver: entry.driver, address: entry.address,
      attributes: claim?.attributes ?? engine.deviceAttributes(number), claim: claim?.holder,
      driverOverride: entry.overrides[number])
  }
}
