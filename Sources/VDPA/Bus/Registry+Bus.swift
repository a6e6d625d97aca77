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
      return (0..<entry.deviceCount).map { BusDevice($0, of: entry, engine) }
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

  // MARK: Coming and going

  /// Looks what devices an engine has now: those that have come since are put on the bus, those that have gone are taken away.
  ///
  /// For engines whose devices come and go while they run. Who has claimed a device that is gone keeps it until giving it back.
  ///
  /// - Throws: ``VDPAError`` `unknownEngine` or `staleHandle`.
  public func rescan(_ handle: EngineHandle) throws(VDPAError) {
    guard handle != .software else { return }
    let found: Result<any Engine, VDPAError> = state.withLock { state in
      do throws(VDPAError) { return .success(try Registry.entry(of: handle, in: state).1) } catch {
        return .failure(error)
      }
    }
    settle(try found.get(), as: handle)
  }

  /// Puts on the bus what an engine has and is not there, and takes away what it no longer has. For whom a new device is, is settled
  /// before anybody can claim it.
  func settle(_ engine: any Engine, as handle: EngineHandle, isStarting: Bool = false) {
    let count = max(engine.attributes.deviceCount, 0)
    let rules = matchRules
    guard let entry = state.withLock({ $0.engines[handle.id] }), entry.handle == handle else { return }
    let chosen = (min(entry.deviceCount, count)..<count).map { number -> (number: Int, driver: BusDriver?) in
      let device = BusDevice(number, of: entry, engine)
      return (number, rules.first { $0.fits(device) }?.busDriver)
    }
    let changed = state.withLock { state -> (before: Int, entry: Entry)? in
      // One that is being removed meanwhile stays what it is.
      guard var entry = state.engines[handle.id], entry.handle == handle, isStarting || entry.engine != nil else {
        return nil
      }
      let before = entry.deviceCount
      for (number, driver) in chosen where number >= before { entry.overrides[number] = driver }
      entry.overrides = entry.overrides.filter { $0.key < count }
      (entry.engine, entry.deviceCount) = (engine, count)
      state.engines[handle.id] = entry
      return (before, entry)
    }
    guard let (before, entry) = changed else { return }
    for number in min(before, count)..<count {
      events.send(.appeared(BusDevice(number, of: entry, engine)), from: self)
    }
    disappear(count..<max(before, count), of: handle)
  }

  /// Tells that devices are gone.
  func disappear(_ numbers: Range<Int>, of handle: EngineHandle) {
    for number in numbers { events.send(.disappeared(DeviceHandle(engine: handle, device: number)), from: self) }
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
