public import Virtio

/// A device that this process drives: the other end of its vrings is a ``DriverGuest``.
///
/// Each call waits until the device has done what it was asked for, ``patience`` at most. For one thread, as its guest is.
public final class DrivenDevice {
  /// The device in its context, for what is not here.
  public let context: DeviceContext
  /// The longest that a call waits for the device.
  public var patience = Duration.seconds(30)
  /// What was negotiated.
  public private(set) var features: Features = []
  /// Whose vrings it serves; nil while it serves none.
  public private(set) var guest: DriverGuest?
  /// Whether the device areas of vrings that start from now on are to be noted in a dirty log, as buffers always are.
  public var logsRings = false
  /// What it sees of the guest's memory.
  private var memory: GuestMemory?
  /// The vrings that it serves and whether they are enabled.
  private var running: [Int: Bool] = [:]
  /// Where each of them began.
  private var starts: [Int: VringState] = [:]
  private let reported = DriverReports()

  init(_ context: DeviceContext) { self.context = context }

  /// What it is and offers.
  public var attributes: DeviceAttributes { context.attributes }
  /// Its counters; nil if it does not count.
  public var statistics: [VringStatistics]? { context.statistics?.vrings }
  /// What it has reported by itself so far; the first 1,024 reports.
  public var reports: [DeviceReport] { reported.all }
  /// Whether it has been started and not been stopped since.
  public var isRunning: Bool { guest != nil }

  // MARK: Before it runs

  /// Accepts features (virtio 1.2, §2.2).
  ///
  /// - Parameter wanted: Of those that the device offers.
  /// - Throws: ``VDPAError`` `notOffered`, for others; `operationFailed`, while it runs, or when the device refuses them.
  public func negotiate(_ wanted: Features) throws(VDPAError) {
    guard !isRunning else { throw failure("features are negotiated before it runs; stop it first") }
    let excess = wanted.subtracting(attributes.features)
    guard excess.isEmpty else {
      throw VDPAError(
        .notOffered,
        "\(name) does not offer \(excess.describe(for: attributes.type)); ask for what is in its attributes")
    }
    try tell { $0.setFeatures(wanted, completion: $1) }
    features = wanted
  }

  /// Makes a guest for this device, or any other with the same features.
  ///
  /// - Parameters:
  ///   - vringCount: How many vrings; nil for as many as the device has.
  ///   - ringSize: Descriptors a vring; nil for 256, or the device's largest if that is less.
  ///   - bufferBytes: How much memory it has for buffers.
  ///   - regionCount: In how many regions its memory is.
  ///   - start: The position at which the vrings start; nil for the beginning.
  /// - Throws: ``VDPAError`` `notOffered`, for more or longer rings than the device has; `noResources`.
  public func makeGuest(
    vringCount: Int? = nil, ringSize: Int? = nil, bufferBytes: Int, regionCount: Int = 1,
    startingAt start: UInt16? = nil
  ) throws(VDPAError) -> DriverGuest {
    let count = vringCount ?? attributes.vringCount
    let size = ringSize ?? min(256, attributes.maxRingSize)
    guard count <= attributes.vringCount, size <= attributes.maxRingSize else {
      throw VDPAError(
        .notOffered,
        "\(name) has \(attributes.vringCount) vrings of at most \(attributes.maxRingSize) descriptors; \(count) of \(size) "
          + "are wanted")
    }
    return try DriverGuest(
      features: features, vringCount: count, ringSize: size, bufferBytes: bufferBytes, regionCount: regionCount,
      startingAt: start)
  }

  // MARK: Running

  /// Has the device serve a guest, from where its vrings stand.
  ///
  /// - Parameters:
  ///   - guest: Made with the features that were negotiated.
  ///   - vrings: Which vrings; nil for all. The others may be started later.
  ///   - isEnabled: Whether they are enabled.
  ///   - states: Where they stand, if not where the guest's driver is: positions that another device has given back.
  /// - Throws: ``VDPAError`` `notOffered` or `operationFailed`; the device is then as it was.
  public func start(
    _ guest: DriverGuest, vrings: [Int]? = nil, isEnabled: Bool = true, at states: [VringState] = []
  ) throws(VDPAError) {
    guard !isRunning else { throw failure("it runs already; stop it first") }
    guard guest.features == features else {
      throw failure("the guest was made for the feature bits \(guest.features.bits), not \(features.bits)")
    }
    let indices = vrings ?? Array(guest.vrings.indices)
    let setup = DeviceSetup(
      features: features, memory: guest.memory.memory,
      vrings: indices.sorted().map { DeviceSetup.Vring(description(of: $0, in: guest), isEnabled: isEnabled) },
      observer: reported
    ).at(states)
    try tell { $0.configure(setup, completion: $1) }
    self.guest = guest
    memory = setup.memory
    for vring in setup.vrings { note(vring) }
  }

  /// Starts one more vring (vhost-user, Ring states), from where it stands.
  public func start(vring index: Int, isEnabled: Bool = true) throws(VDPAError) {
    try set(DeviceSetup.Vring(description(of: index, in: try served(index)), isEnabled: isEnabled))
  }

  /// Enables or disables a vring, which stops nothing.
  public func setEnabled(_ isEnabled: Bool, vring index: Int) throws(VDPAError) {
    var description = description(of: index, in: try served(index))
    if let start = starts[index] { description.state = start }
    try set(DeviceSetup.Vring(description, isEnabled: isEnabled))
  }

  private func set(_ vring: DeviceSetup.Vring) throws(VDPAError) {
    try tell { $0.setVring(vring, completion: $1) }
    note(vring)
  }

  /// Moves the device to another snapshot of the guest's memory.
  public func changeMemory(to new: GuestMemory) throws(VDPAError) {
    guard isRunning else { throw failure("it does not run") }
    try tell { $0.changeMemory(to: new, completion: $1) }
    memory = new
  }

  /// Has the device note which pages it writes; nil for no longer.
  ///
  /// - Throws: ``VDPAError`` `notOffered` inside of `operationFailed`, for a device that keeps no dirty log.
  public func setLog(_ log: DirtyLog?) throws(VDPAError) {
    try tell { $0.setLog(log, completion: $1) }
  }

  /// Stops the device. What is in the vrings stays there for the next start, here or elsewhere.
  ///
  /// - Returns: Where the vrings stand that it served.
  /// - Throws: ``VDPAError`` `operationFailed`, when it cannot be stopped; `deviceFault`, when it has written into a ring what no
  ///   device may write.
  @discardableResult
  public func stop() throws(VDPAError) -> [VringState] {
    guard let guest else { return [] }
    let states = try tell { $0.close(completion: $1) }
    let stopped = running.keys.sorted()
    forget()
    for index in stopped { try takeBack(guest.vrings[index]) }
    return states
  }

  /// Stops one vring; only for a device that can (``DeviceContext/canStopVrings``).
  ///
  /// - Returns: Where it stands.
  public func stop(vring index: Int) throws(VDPAError) -> VringState {
    let guest = try served(index)
    let state = try tell { $0.stopVring(index, completion: $1) }
    (running[index], starts[index]) = (nil, nil)
    try takeBack(guest.vrings[index])
    return state
  }

  /// Stops the device and forgets what was negotiated (virtio 1.2, §2.4). Its guest's vrings are as they were left; a guest that
  /// begins anew is a new one.
  public func reset() throws(VDPAError) {
    try stop()
    features = []
  }

  /// Gives the device back; one that runs is stopped. A device that cannot be stopped is not given back.
  public func release() {
    context.release()
    forget()
  }

  /// Hands the guest's vrings over to another device, which goes on while the guest notices nothing (design §4.1).
  ///
  /// - Parameters:
  ///   - other: It does not run.
  ///   - log: Where writes to guest memory are noted from then on; nil for nowhere.
  /// - Returns: Where the vrings stood.
  /// - Throws: ``VDPAError``, when the other one could not take over. This device goes on if ``isRunning``.
  @discardableResult
  public func handOver(to other: DrivenDevice, log: DirtyLog? = nil) throws(VDPAError) -> [VringState] {
    guard let guest, let setup else { throw failure("it does not run, so there is nothing to hand over") }
    guard !other.isRunning else { throw other.failure("it runs already; stop it first") }
    let handover = Handover(of: setup, observer: other.reported, log: log, from: context, to: other.context)
    let outcome = try tell { _, completion in handover.run { completion(.success($0)) } }
    switch outcome {
    case .moved(let rings):
      (other.guest, other.memory, other.running, other.features) = (guest, memory, running, features)
      forget()
      // Nobody can go on with rings of which nobody can say where they stand.
      for ring in rings.lost { other.running[ring.index] = nil }
      for state in rings.states where other.running[state.index] != nil { other.starts[state.index] = state }
      return rings.states
    case .refused(let error): throw error
    case .undone(let error, let rings):
      for state in rings.states where running[state.index] != nil { starts[state.index] = state }
      throw error
    case .stopped(let error, _):
      forget()
      throw error
    case .stuck(let error): throw error
    }
  }

  /// What the device was configured with, as it is now; nil while it does not run.
  public var setup: DeviceSetup? {
    guard let guest, let memory else { return nil }
    return DeviceSetup(
      features: features, memory: memory,
      vrings: running.sorted { $0.key < $1.key }.map { index, isEnabled in
        DeviceSetup.Vring(description(of: index, in: guest), isEnabled: isEnabled)
      }, observer: reported
    ).at(Array(starts.values))
  }

  // MARK: Configuration space

  /// Reads the configuration space (virtio 1.2, §2.5); empty for a device that has none.
  public func readConfiguration() throws(VDPAError) -> [UInt8] {
    try tell { $0.readConfiguration(completion: $1) }
  }

  /// Writes a piece of the configuration space as a guest's driver does.
  ///
  /// - Parameters:
  ///   - bytes: What to write.
  ///   - offset: Where, in bytes.
  /// - Throws: ``VDPAError`` `operationFailed`, with the device's reason.
  public func writeConfiguration(_ bytes: [UInt8], at offset: Int) throws(VDPAError) {
    try tell { $0.writeConfiguration(bytes, at: offset, isRestoring: false, completion: $1) }
  }

  // MARK: Helpers

  private var name: String { "\(context.owner): \(context.handle) (\(context.driver))" }

  private func failure(_ why: String) -> VDPAError { VDPAError(.operationFailed, "\(name): \(why)") }

  private func tell<Value: Sendable>(
    _ operation: (DeviceContext, @escaping DeviceContext.Completion<Value>) -> Void
  ) throws(VDPAError) -> Value {
    try context.wait(within: patience, operation)
  }

  private func served(_ index: Int) throws(VDPAError) -> DriverGuest {
    guard let guest else { throw failure("it does not run") }
    guard guest.vrings.indices.contains(index) else {
      throw failure("its guest has \(guest.vrings.count) vrings, from 0, and no vring \(index)")
    }
    return guest
  }

  private func description(of index: Int, in guest: DriverGuest) -> VringDescription {
    var description = guest.vrings[index].description
    if logsRings { description.logAddress = description.used }
    return description
  }

  private func note(_ vring: DeviceSetup.Vring) {
    running[vring.description.index] = vring.isEnabled
    starts[vring.description.index] = vring.description.state
  }

  private func forget() {
    (guest, memory, running, starts) = (nil, nil, [:], [:])
  }

  private func takeBack(_ vring: DriverVring) throws(VDPAError) {
    do { try vring.takeBack() } catch { throw VDPAError(.deviceFault, "\(name): \(error)") }
  }
}
