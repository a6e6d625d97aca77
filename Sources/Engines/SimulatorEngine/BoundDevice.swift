internal import Logging
internal import VDPA
internal import Virtio

/// A simulated device as the framework sees it, from when it is claimed until it is given back. Every operation is a job
/// for the device's thread.
final class BoundDevice: Device {
  /// The DMA map of an on-chip device, to the framework.
  private struct OnChipTranslation: DMATranslation {
    let device: SimulatedDevice

    func map(_ range: AddressMap.Range) throws {
      try device.thread.perform("map") { try $0.map(range) }
    }

    func unmap(start: UInt64, size: UInt64) throws {
      try device.thread.perform("unmap") { try $0.unmap(start: start, size: size) }
    }
  }

  private struct Configuration: ConfigurationSpace {
    let bytes: [UInt8]
  }

  private struct Statistics: DeviceStatistics {
    let board: StatisticsBoard
    let count: Int

    var vrings: [VringStatistics] { Array(board.all.prefix(count)) }
  }

  private let device: SimulatedDevice
  private let configuration: NetConfiguration
  private let translation: Translation
  let attributes: DeviceAttributes

  init(_ device: SimulatedDevice, settings: SimulatorSettings, pairs: Int) {
    self.device = device
    translation = settings.translation
    attributes = settings.attributes(pairs: pairs)
    configuration = settings.configuration(device: device.index, pairs: pairs)
  }

  var capabilities: DeviceCapabilities {
    DeviceCapabilities(
      dmaTranslation: translation == .onChip ? OnChipTranslation(device: device) : nil,
      configuration: Configuration(bytes: configuration.encoded),
      statistics: Statistics(board: device.board, count: attributes.vringCount))
  }

  func configure(_ setup: DeviceSetup) throws {
    try check(setup.features)
    for vring in setup.vrings { try check(vring.description) }
    try device.thread.perform("configure") { try $0.configure(setup) }
  }

  func close() throws -> [VringState] {
    // A thread that comes too late still has to stop; until then it keeps the memory that it uses.
    try device.thread.perform("close", evenIfLate: true) { $0.close() }
  }

  func setVring(_ description: VringDescription, enabled: Bool) throws {
    try check(description)
    try device.thread.perform("setVring") { try $0.setVring(description, enabled: enabled) }
  }

  func setFeatures(_ features: Features) throws {
    try check(features)
    try device.thread.perform("setFeatures") { try $0.setFeatures(features) }
  }

  /// The device has no addresses to announce anywhere: its wire ends in itself.
  func migrationDone() throws {}

  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws {
    try device.thread.perform("memoryChanged") { try $0.changeMemory(from: old, to: new) }
  }

  private func check(_ features: Features) throws(SimulatorError) {
    let excess = features.subtracting(attributes.features.union(.protocolFeatures))
    guard excess.isEmpty else {
      throw SimulatorError(
        .badFeatures, "simulated device \(device.index) does not offer \(excess.describe(for: attributes.type))")
    }
  }

  private func check(_ vring: VringDescription) throws(SimulatorError) {
    guard vring.index >= 0, vring.index < attributes.vringCount else {
      throw SimulatorError(
        .badVring,
        "simulated device \(device.index) has no vring \(vring.index); it has \(attributes.vringCount), from 0")
    }
    guard vring.size <= attributes.maxRingSize else {
      throw SimulatorError(
        .badVring,
        "vring \(vring.index) has \(vring.size) descriptors, more than the \(attributes.maxRingSize) of simulated device "
          + "\(device.index) (parameter ring-size)")
    }
  }
}
