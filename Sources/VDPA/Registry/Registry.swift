internal import Synchronization
public import Virtio

/// Knows the engine drivers by name, the engines by id, and who has claimed which device: the vDPA bus.
///
/// An engine puts its devices on the bus; a bus driver claims one. Engine −1, the software datapath, is given at the start
/// and is always there; it makes a device for each claim.
public final class Registry: Sendable {
  /// What the registry tells about an engine.
  public struct EngineInformation: Sendable {
    /// Its handle with its id.
    public let handle: EngineHandle
    /// The name of its driver; `software` for engine −1.
    public let driver: String
    /// Where it is.
    public let address: EngineAddress
    /// What it has.
    public let attributes: EngineAttributes
  }

  private let software: any Engine
  let state = Mutex(State())
  let events = BusEvents()

  /// A registry whose engine −1 is `software`.
  public init(software: any Engine) {
    self.software = software
  }

  // MARK: Drivers

  /// Registers an engine driver.
  ///
  /// - Throws: ``VDPAError`` `driverExists`, when a driver has that name already.
  public func register(_ driver: any EngineDriver) throws(VDPAError) {
    let name = driver.name
    let isNew = state.withLock { state in
      guard state.drivers[name] == nil, name != Registry.softwareName else { return false }
      state.drivers[name] = driver
      return true
    }
    guard isNew else {
      throw VDPAError(.driverExists, "engine driver \"\(name)\" is registered already; register it once, at startup")
    }
  }

  /// Takes an engine driver back.
  ///
  /// - Throws: ``VDPAError`` `unknownDriver`, or `driverInUse` while engines of it run.
  public func unregister(driver name: String) throws(VDPAError) {
    let (isKnown, users) = state.withLock { state in
      let users = state.engines.values.filter { $0.driver == name }.map(\.handle.id).sorted()
      let isKnown = users.isEmpty ? state.drivers.removeValue(forKey: name) != nil : true
      return (isKnown, users)
    }
    guard isKnown else { throw unknownDriver(name) }
    guard users.isEmpty else {
      throw VDPAError(
        .driverInUse, "engine driver \"\(name)\" still runs engine \(list(users)); remove the engines first")
    }
  }

  /// The names of the registered drivers, in ascending order.
  public var drivers: [String] { state.withLock { $0.drivers.keys.sorted() } }

  /// What engine −1 is called where other engines have the name of their driver.
  public static let softwareName = "software"

  private func unknownDriver(_ name: String) -> VDPAError {
    let known = drivers
    return VDPAError(
      .unknownDriver,
      "there is no engine driver \"\(name)\"; registered: \(known.isEmpty ? "none" : known.joined(separator: ", "))")
  }

  // MARK: Engines

  /// Starts an engine and gives it the lowest free id.
  ///
  /// - Parameters:
  ///   - driver: The name of a registered driver.
  ///   - address: Where the engine is and how it is set up.
  /// - Returns: The engine's handle.
  /// - Throws: ``VDPAError`` `unknownDriver`, or `engineStartFailed` with the driver's reason.
  @discardableResult
  public func addEngine(driver name: String, at address: EngineAddress) throws(VDPAError) -> EngineHandle {
    let reserved = state.withLock { state -> (any EngineDriver, EngineHandle)? in
      guard let driver = state.drivers[name] else { return nil }
      var id = 0
      while state.engines[id] != nil { id += 1 }
      state.generation += 1
      let handle = EngineHandle(id: id, generation: state.generation)
      state.engines[id] = Entry(handle: handle, driver: name, address: address)
      return (driver, handle)
    }
    guard let (driver, handle) = reserved else { throw unknownDriver(name) }
    do {
      let engine = try driver.start(at: address)
      settle(engine, as: handle, isStarting: true)
      return handle
    } catch {
      state.withLock { $0.engines[handle.id] = nil }
      throw VDPAError(
        .engineStartFailed, "engine driver \"\(name)\" could not start an engine at \(address): \(error)")
    }
  }

  /// Stops an engine and frees its id.
  ///
  /// - Throws: ``VDPAError`` `unknownEngine`, `staleHandle`, or `engineInUse` while one of its devices is claimed.
  public func removeEngine(_ handle: EngineHandle) throws(VDPAError) {
    guard handle != .software else {
      throw VDPAError(.engineInUse, "engine −1 is the software datapath and is always there")
    }
    let found: Result<any Engine, VDPAError> = state.withLock { state in
      do throws(VDPAError) {
        let (entry, engine) = try Registry.entry(of: handle, in: state)
        guard entry.claims.isEmpty else {
          let users = entry.claims.sorted { $0.key < $1.key }.map { "device \($0.key) by \($0.value.holder.owner)" }
          throw VDPAError(
            .engineInUse,
            "\(handle) (\(entry.driver)) is in use: \(users.joined(separator: ", ")); unbind these sockets first")
        }
        // Nobody can claim its devices from here on, and its id stays taken until it has stopped.
        state.engines[handle.id]?.engine = nil
        return .success(engine)
      } catch {
        return .failure(error)
      }
    }
    let engine = try found.get()
    engine.stop()
    let gone = state.withLock { $0.engines.removeValue(forKey: handle.id) }
    disappear(0..<(gone?.deviceCount ?? 0), of: handle)
  }

  /// The engines by ascending id, the software engine first.
  public var engines: [EngineInformation] {
    let entries = state.withLock { state in state.engines.values.sorted { $0.handle.id < $1.handle.id } }
    let own = EngineInformation(
      handle: .software, driver: Registry.softwareName, address: EngineAddress("-"), attributes: software.attributes)
    return [own]
      + entries.compactMap { entry in
        entry.engine.map { engine in
          EngineInformation(
            handle: entry.handle, driver: entry.driver, address: entry.address, attributes: engine.attributes)
        }
      }
  }

  /// The handle of the engine that has an id now.
  ///
  /// - Throws: ``VDPAError`` `unknownEngine`.
  public func engine(id: Int) throws(VDPAError) -> EngineHandle {
    if id == EngineHandle.software.id { return .software }
    guard let handle = state.withLock({ state in state.engines[id].flatMap { $0.engine == nil ? nil : $0.handle } })
    else { throw unknownEngine(id) }
    return handle
  }

  /// The handle of a device by the numbers that people use; (−1, −1) is the software datapath.
  ///
  /// - Throws: ``VDPAError`` `unknownEngine` or `unknownDevice`.
  public func device(engine: Int, device: Int) throws(VDPAError) -> DeviceHandle {
    let handle = DeviceHandle(engine: try self.engine(id: engine), device: device)
    if handle.engine == .software {
      try checkSoftware(handle)
    } else {
      _ = try look(up: handle)
    }
    return handle
  }

  private func unknownEngine(_ id: Int) -> VDPAError {
    let known = engines.map { "\($0.handle.id)" }.joined(separator: ", ")
    return VDPAError(.unknownEngine, "there is no engine \(id); there is: \(known)")
  }

  static func entry(of handle: EngineHandle, in state: State) throws(VDPAError) -> (Entry, any Engine) {
    guard let entry = state.engines[handle.id], let engine = entry.engine else {
      throw VDPAError(.unknownEngine, "there is no \(handle)")
    }
    guard entry.handle == handle else {
      throw VDPAError(
        .staleHandle, "this handle is of an \(handle) that was removed; the id belongs to another engine now")
    }
    return (entry, engine)
  }

  // MARK: Devices

  /// Claims a device for a bus driver.
  ///
  /// - Parameters:
  ///   - device: Which one; ``DeviceHandle/software`` for a new software device.
  ///   - type: The virtio type that it has to have.
  ///   - driver: Which bus driver claims it.
  ///   - owner: For whom, as it appears in logs and errors.
  ///   - queues: The most queues wanted.
  ///   - parameters: Settings for the device itself.
  /// - Returns: The device in its context. It is free again when ``DeviceContext/release()`` has been called.
  /// - Throws: ``VDPAError`` `unknownEngine`, `staleHandle`, `unknownDevice`, `deviceInUse`, `wrongBusDriver`,
  ///   `deviceOpenFailed` or `wrongDeviceType`.
  public func claim(
    _ device: DeviceHandle, type: DeviceType, by driver: BusDriver = .application, owner: String, queues: Int? = nil,
    parameters: Parameters = [:]
  ) throws(VDPAError) -> DeviceContext {
    let request = DeviceRequest(
      device: device.device, owner: owner, type: type, queues: queues, parameters: parameters)
    guard device.engine != .software else {
      try checkSoftware(device)
      return try open(software, Registry.softwareName, device, request) {}
    }
    let holder = BusDevice.Claim(driver: driver, owner: owner)
    let (entry, engine, number) = try look(up: device, claimedBy: holder)
    do throws(VDPAError) {
      let context = try open(engine, entry.driver, device, request) { [weak self] in
        guard let self else { return }
        // One that was not what it had to be was never claimed.
        var wasClaimed = false
        change(claim: number, of: device) { claim in
          wasClaimed = claim?.attributes != nil
          claim = nil
        }
        if wasClaimed { events.send(.released(device), from: self) }
      }
      change(claim: number, of: device) { $0?.attributes = context.attributes }
      events.send(
        .claimed(
          BusDevice(
            handle: device, engineDriver: entry.driver, address: entry.address, attributes: context.attributes,
            claim: holder, driverOverride: entry.overrides[device.device])), from: self)
      return context
    } catch {
      change(claim: number, of: device) { $0 = nil }
      throw error
    }
  }

  /// Changes a claim, if it is still there.
  private func change(claim number: UInt64, of device: DeviceHandle, _ body: (inout Claim?) -> Void) {
    state.withLock { state in
      guard let entry = state.engines[device.engine.id], entry.handle == device.engine,
        var claim = Optional(entry.claims[device.device]), claim?.number == number
      else { return }
      body(&claim)
      state.engines[device.engine.id]?.claims[device.device] = claim
    }
  }

  private func checkSoftware(_ device: DeviceHandle) throws(VDPAError) {
    guard device.device == -1 else {
      throw VDPAError(.unknownDevice, "engine −1 has no device \(device.device); the software datapath is (−1, −1)")
    }
  }

  /// Finds a device's engine; notes the claim if there is an owner.
  func look(
    up device: DeviceHandle, claimedBy holder: BusDevice.Claim? = nil
  ) throws(VDPAError) -> (Entry, any Engine, claim: UInt64) {
    func find(_ body: (inout State, Entry) -> VDPAError?) throws(VDPAError) -> (Entry, any Engine) {
      let found: Result<(Entry, any Engine), VDPAError> = state.withLock { state in
        do throws(VDPAError) {
          let (entry, engine) = try Registry.entry(of: device.engine, in: state)
          if let refusal = body(&state, entry) { throw refusal }
          return .success((entry, engine))
        } catch {
          return .failure(error)
        }
      }
      return try found.get()
    }
    let (entry, engine) = try find { _, _ in nil }
    // The engine is somebody else's code, so it is asked under no lock.
    let count = engine.attributes.deviceCount
    guard device.device >= 0, device.device < count else {
      throw VDPAError(
        .unknownDevice,
        "\(device.engine) (\(entry.driver)) has no device \(device.device); it has \(count), numbered from 0")
    }
    guard let holder else { return (entry, engine, 0) }
    var number: UInt64 = 0
    _ = try find { state, entry in
      if let user = entry.claims[device.device]?.holder {
        return VDPAError(
          .deviceInUse, "\(device) is in use by \(user.owner) (bus driver \(user.driver)); unbind it there first")
      }
      if let chosen = entry.overrides[device.device], chosen != holder.driver {
        return VDPAError(
          .wrongBusDriver,
          "\(device) (\(entry.driver)) is set aside for the bus driver \(chosen), and \(holder.driver) wants it for "
            + "\(holder.owner); take another device, or take its driverOverride away")
      }
      state.claims += 1
      number = state.claims
      state.engines[device.engine.id]?.claims[device.device] = Claim(holder: holder, number: number)
      return nil
    }
    return (entry, engine, number)
  }

  private func open(
    _ engine: any Engine, _ driver: String, _ handle: DeviceHandle, _ request: DeviceRequest,
    released: @escaping @Sendable () -> Void
  ) throws(VDPAError) -> DeviceContext {
    do {
      let device = try engine.open(request)
      let context = DeviceContext(
        device, handle: handle, driver: driver, owner: request.owner, released: released)
      guard context.attributes.type == request.type else {
        throw VDPAError(
          .wrongDeviceType,
          "\(handle) (\(driver)) is a \(context.attributes.type) device; \(request.owner) needs a \(request.type) device"
        )
      }
      let rings = context.attributes.vringCount
      guard rings >= request.type.ringsPerQueue, rings <= 256, context.attributes.maxRingSize >= 1 else {
        throw VDPAError(
          .deviceOpenFailed,
          "\(handle) (\(driver)) says that it has \(rings) vrings of at most \(context.attributes.maxRingSize) descriptors; "
            + "a \(request.type) device has \(request.type.ringsPerQueue) to 256")
      }
      return context
    } catch let error as VDPAError {
      throw error
    } catch {
      throw VDPAError(.deviceOpenFailed, "\(handle) (\(driver)) could not be opened for \(request.owner): \(error)")
    }
  }

  private func list(_ ids: [Int]) -> String { ids.map(String.init).joined(separator: ", ") }
}
