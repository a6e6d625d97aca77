internal import VDPA
internal import Virtio

/// A ``SoftwareDevice`` as the framework sees it: a device of engine −1 with a queue for each ring.
final class SoftwareChainDevice: Device {
  private let device: any SoftwareDevice
  private let queues: [ChainQueue]
  private var postcopyHome = PostcopyHome()
  private var features: Features = []
  private var memory: GuestMemory?
  private var observer: (any DeviceObserver)?
  /// Where writes to guest memory are noted; nil for nowhere.
  private var log: DirtyLog?

  let attributes: DeviceAttributes

  init(_ device: any SoftwareDevice, _ request: DeviceRequest, worker: (Int) -> Worker) throws {
    guard device.type == request.type else {
      throw DatapathError(
        .unsupportedType,
        "\(request.owner): a device of type \(request.type) was asked for, and one of type "
          + "\(device.type) made")
    }
    let rings = device.type.ringsPerQueue
    let count = min(device.queueCount, request.queues.map { $0 * rings } ?? device.queueCount)
    guard count >= 1 else {
      throw DatapathError(.badConfiguration, "\(request.owner): a device has one queue at least")
    }
    self.device = device
    queues = try (0..<count).map { i in
      try ChainQueue(name: "\(request.owner) vring \(i)", index: i, device: device, worker: worker(i))
    }
    var protocolFeatures: ProtocolFeatures = [.logSharedMemory, .pageFault, .inflightSharedMemory]
    // QEMU never says DRIVER_OK to a device of another type (7.2 and 10.0: only these tell vhost_user_dev_start which
    // vring is the last), so that one that waits for it would never start.
    if device.type == .block { protocolFeatures.insert(.status) }
    if !device.configuration.isEmpty { protocolFeatures.insert(.configuration) }
    if device.stateTransfer != nil { protocolFeatures.insert(.deviceState) }
    attributes = DeviceAttributes(
      type: device.type, features: device.features.union(DeviceRing.features).union(.accessPlatform),
      protocolFeatures: protocolFeatures,
      vringCount: count, completesInOrder: false, operationsMayBlock: true)
  }

  var capabilities: DeviceCapabilities {
    DeviceCapabilities(
      vringControl: self, configuration: device.configuration.isEmpty ? nil : self,
      statistics: ChainStatistics(queues.map(\.counters)), dirtyTracking: self, stateTransfer: device.stateTransfer,
      postcopy: self)
  }

  // MARK: Operations

  func configure(_ setup: DeviceSetup) throws {
    // What could not be closed when an earlier try failed.
    if memory != nil { _ = try close() }
    features = setup.features
    memory = setup.memory
    observer = setup.observer
    do {
      for vring in setup.vrings { try start(vring) }
    } catch {
      let states = try close()
      throw states.isEmpty ? error : PartialStart(error, states: states)
    }
  }

  func close() throws -> [VringState] {
    var states: [VringState] = []
    var failure: (any Error)?
    // All at once, or the time that each may take would add up.
    for queue in queues { _ = try? queue.beginDraining() }
    for queue in queues {
      do {
        if let state = try queue.stop() { states.append(state) }
      } catch {
        // It keeps its memory; the others stop all the same.
        failure = error
      }
    }
    if let failure { throw failure }
    memory = nil
    observer = nil
    return states
  }

  func setVring(_ description: VringDescription, enabled: Bool) throws {
    // Before configure nothing runs, and configure repeats it.
    guard memory != nil else { return }
    if try !queues[description.index].update(description, enabled: enabled) {
      try start(DeviceSetup.Vring(description, isEnabled: enabled))
    }
  }

  func setFeatures(_ features: Features) throws {
    // They take effect on the rings that start from now on; nothing that is offered changes a running one.
    self.features = features
  }

  func migrationDone() throws {}

  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws {
    for queue in queues { try queue.move(to: new) }
    memory = new
  }

  private func start(_ vring: DeviceSetup.Vring) throws {
    guard let memory else { return }
    try queues[vring.description.index].start(
      vring, features: features, memory: memory, log: log, observer: observer)
  }
}

extension SoftwareChainDevice: VringControl {
  func stopVring(_ index: Int) throws -> VringState {
    guard let state = try queues[index].stop() else {
      throw DatapathError(.badVring, "\(queues[index].name) is not running, so it cannot be stopped")
    }
    return state
  }
}

extension SoftwareChainDevice: PostcopyServing {
  func beginPostcopy() throws {
    try postcopyHome.enter(queues) {
      try $0.leave(for: $1)
    } undo: {
      try $0.comeBack()
    }
    for queue in queues { queue.mayTakeLong(true) }
  }

  func endPostcopy() throws {
    for queue in queues { queue.mayTakeLong(false) }
    try postcopyHome.leave(queues) { try $0.comeBack() }
  }
}

extension SoftwareChainDevice: ConfigurationSpace {
  var bytes: [UInt8] { device.configuration }
}

extension SoftwareChainDevice: DirtyTracking {
  func setLog(_ log: DirtyLog?) throws {
    let old = self.log
    try queues.changeAll {
      try $0.setLog(log)
    } undo: {
      try $0.setLog(old)
    }
    self.log = log
  }
}

/// The counters of a device's queues. Who holds them does not hold the device, and with it what that is made of.
private struct ChainStatistics: DeviceStatistics {
  private let counters: [VringCounters]

  init(_ counters: [VringCounters]) { self.counters = counters }

  var vrings: [VringStatistics] { counters.map(\.snapshot) }
}
