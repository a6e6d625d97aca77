internal import Logging
internal import VDPA
internal import Virtio

/// A simulated device as the framework sees it, from when it is claimed until it is given back. Every operation is a job
/// for the device's thread.
final class BoundDevice: Device {
  private let device: SimulatedDevice
  /// A net device's; a block device has the disk's.
  private var netConfiguration: NetConfiguration
  let attributes: DeviceAttributes

  private var parts: DeviceParts { device.parts }
  private var settings: SimulatorSettings { parts.settings }

  init(_ device: SimulatedDevice, queues: Int) {
    self.device = device
    attributes = device.parts.attributes(queues: queues)
    netConfiguration = device.parts.settings.configuration(device: device.index, pairs: queues)
  }

  var capabilities: DeviceCapabilities {
    let (isNet, without) = (settings.type == .net, settings.without)
    return DeviceCapabilities(
      vringControl: without.contains(.vringControl) ? nil : self,
      dmaTranslation: settings.translation == .onChip ? self : nil, configuration: self,
      statistics: without.contains(.statistics)
        ? nil : BoundStatistics(board: parts.board, count: attributes.vringCount),
      dirtyTracking: settings.hasDirtyTracking ? self : nil,
      announcement: isNet && !without.contains(.announcement) ? self : nil,
      mtuControl: isNet && !without.contains(.mtuControl) ? self : nil,
      notifyArea: parts.notifyPages == nil ? nil : self,
      // One that translates by itself is unmapped.
      fencing: settings.translation == .platform ? self : nil,
      suspension: without.contains(.suspension) ? nil : self)
  }

  // MARK: Operations

  func configure(_ setup: DeviceSetup) throws {
    try check(setup.features)
    for vring in setup.vrings { try check(vring.description) }
    try perform(.configure) { try $0.configure(setup) }
  }

  func close() throws -> [VringState] {
    // A thread that comes too late still has to stop; until then it keeps the memory that it uses.
    try perform(.close, evenIfLate: true) { $0.close() }
  }

  func setVring(_ description: VringDescription, enabled: Bool) throws {
    try check(description)
    try perform(.setVring) { try $0.setVring(description, enabled: enabled) }
  }

  func setFeatures(_ features: Features) throws {
    try check(features)
    try perform(.setFeatures) { try $0.setFeatures(features) }
  }

  /// The device has no addresses to announce anywhere: its wire ends in itself.
  func migrationDone() throws { try perform(.migrationDone) { _ in } }

  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws {
    try perform(.memoryChanged) { try $0.changeMemory(from: old, to: new) }
  }

  /// Runs an operation on the device's thread, unless it is to fail.
  private func perform<Value: Sendable>(
    _ operation: SimulatedOperation, evenIfLate: Bool = false, _ body: @escaping @Sendable (RingServer) throws -> Value
  ) throws -> Value {
    try parts.faults.begin(operation)
    return try device.thread.perform(operation.rawValue, evenIfLate: evenIfLate, body)
  }

  // MARK: Checks

  private func check(_ features: Features) throws(SimulatorError) {
    let excess = features.subtracting(attributes.features.union(.protocolFeatures))
    guard excess.isEmpty else {
      throw SimulatorError(
        .badFeatures, "simulated device \(device.index) does not offer \(excess.describe(for: attributes.type))")
    }
  }

  private func check(_ vring: VringDescription) throws(SimulatorError) {
    try checkIndex(vring.index)
    guard vring.size <= attributes.maxRingSize else {
      throw SimulatorError(
        .badVring,
        "vring \(vring.index) has \(vring.size) descriptors, more than the \(attributes.maxRingSize) of simulated device "
          + "\(device.index) (parameter ring-size)")
    }
  }

  private func checkIndex(_ index: Int) throws(SimulatorError) {
    guard index >= 0, index < attributes.vringCount else {
      throw SimulatorError(
        .badVring,
        "simulated device \(device.index) has no vring \(index); it has \(attributes.vringCount), from 0")
    }
  }
}

extension BoundDevice: VringControl {
  func stopVring(_ index: Int) throws -> VringState { try perform(.stopVring) { try $0.stopVring(index) } }
}

extension BoundDevice: Suspension {
  func suspend() throws -> [VringState] { try perform(.suspend) { try $0.suspend() } }
  func resume() throws { try perform(.resume) { try $0.resume() } }
}

/// The DMA map of an on-chip device.
extension BoundDevice: DMATranslation {
  func map(_ range: AddressMap.Range) throws { try perform(.map) { try $0.map(range) } }
  func unmap(start: UInt64, size: UInt64) throws { try perform(.unmap) { try $0.unmap(start: start, size: size) } }
}

/// The IOMMU in front of a platform device, which obeys also when that does not.
extension BoundDevice: Fencing {
  func fence() throws { try device.thread.perform("fence") { $0.fence() } }
}

extension BoundDevice: DirtyTracking {
  func setLog(_ log: DirtyLog?) throws { try perform(.setLog) { $0.setLog(log) } }
}

extension BoundDevice: NotifyArea {
  func doorbell(of index: Int) throws -> Doorbell? {
    try checkIndex(index)
    try perform(.doorbell) { _ = $0.doorbells.insert(index) }
    return parts.notifyPages?.doorbell(of: index)
  }
}

extension BoundDevice: ConfigurationSpace {
  var bytes: [UInt8] {
    parts.disk?.configuration(queues: attributes.vringCount).encoded ?? netConfiguration.encoded
  }
}

/// A simulated device has no network to tell; it remembers (``SimulatedDevice/announcements``).
extension BoundDevice: GuestAnnouncement {
  func announce(_ address: MACAddress) throws {
    let dials = parts.dials
    try perform(.announce) { _ in dials.announce(address) }
  }
}

extension BoundDevice: MTUControl {
  /// The MTU is what the guest's driver is told and keeps to (virtio 1.2, §5.1.4.1).
  func setMTU(_ mtu: UInt16) throws {
    guard mtu >= 68 else {
      throw SimulatorError(
        .badParameter, "an MTU of \(mtu) bytes is none of simulated device \(device.index); 68 is the least")
    }
    try perform(.setMTU) { _ in }
    netConfiguration.mtu = mtu
  }
}

/// The counters of a simulated device. Who holds them does not hold the device.
private struct BoundStatistics: DeviceStatistics {
  let board: StatisticsBoard
  let count: Int

  var vrings: [VringStatistics] { Array(board.all.prefix(count)) }
}
