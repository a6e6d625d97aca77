internal import Synchronization
public import VDPA

/// An engine of simulated devices, each of which runs on a thread of its own and sees nothing but its DMA map.
public final class SimulatorEngine: Engine {
  /// Tells the threads of several engines of one process apart.
  private static let ordinals = Atomic<Int>(0)

  private let settings: SimulatorSettings
  private let devices: [SimulatedDevice]

  init(_ settings: SimulatorSettings) throws(SimulatorError) {
    self.settings = settings
    let ordinal = SimulatorEngine.ordinals.wrappingAdd(1, ordering: .relaxed).oldValue
    var devices: [SimulatedDevice] = []
    do throws(SimulatorError) {
      for index in 0..<settings.devices {
        devices.append(
          try SimulatedDevice(DeviceParts(index: index, name: "sim-\(ordinal)/\(index)", settings: settings)))
      }
    } catch {
      for device in devices { device.stop() }
      throw error
    }
    self.devices = devices
  }

  deinit {
    for device in devices { device.stop() }
  }

  /// How many devices were asked for with the parameter `devices`.
  public var attributes: EngineAttributes { EngineAttributes(deviceCount: settings.devices) }

  /// What every device of it is and offers.
  public func deviceAttributes(_ index: Int) -> DeviceAttributes? {
    devices.indices.contains(index) ? devices[index].parts.attributes(queues: settings.queues) : nil
  }

  /// The simulation behind a device, for those who want to stop it or look into it.
  ///
  /// - Parameter index: The device's number.
  /// - Returns: nil when the engine has no such device.
  public func simulatedDevice(_ index: Int) -> SimulatedDevice? {
    devices.indices.contains(index) ? devices[index] : nil
  }

  /// Hands out a device.
  ///
  /// - Throws: ``SimulatorError`` `badParameter`, for a queue count below 1; `vanished`; `stopped` or
  ///   `deadlineMissed`, when the device's thread does not answer; `VDPAError` `unknownDevice` or `badParameter`.
  public func open(_ request: DeviceRequest) throws -> sending any Device {
    guard let device = simulatedDevice(request.device) else {
      throw VDPAError(
        .unknownDevice, "the simulator has no device \(request.device); it has \(devices.count), numbered from 0")
    }
    try request.parameters.allow(only: [], for: "a simulated device")
    guard request.queues ?? 1 >= 1 else {
      throw SimulatorError(.badParameter, "\(request.queues ?? 0) queues make no device; ask for 1 at least")
    }
    let queues = min(request.queues ?? settings.queues, settings.queues)
    try device.reset()
    return BoundDevice(device, queues: queues)
  }

  /// Ends the devices' threads.
  public func stop() {
    for device in devices { device.stop() }
  }
}
