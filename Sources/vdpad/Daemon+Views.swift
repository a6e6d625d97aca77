import Control
import VDPA
import VhostUser
import Virtio

/// What the daemon tells of engines and devices.
extension Daemon {
  var engineSummaries: [EngineSummary] { registry.engines.map(EngineSummary.init) }

  func engineDetail(_ id: Int) throws -> EngineDetail {
    // It says what there is, if there is no such engine.
    let handle = try registry.engine(id: id)
    guard let engine = registry.engines.first(where: { $0.handle == handle }) else {
      throw VDPAError(.unknownEngine, "there is no \(handle) any more")
    }
    return EngineDetail(
      EngineSummary(engine),
      EngineExtras(parameters: engine.address.parameters.values, deviceList: deviceSummaries(of: [engine])))
  }

  func deviceSummaries(of engines: [Registry.EngineInformation]) -> [DeviceSummary] {
    let users = Dictionary(
      sockets.map { ($0.socket.binding, $0.socket.configuration.name) }, uniquingKeysWith: { first, _ in first })
    return engines.flatMap { engine in
      (0..<engine.attributes.deviceCount).map { number in
        DeviceSummary(
          DeviceNumbers(engine: engine.handle.id, device: number), driver: engine.driver, address: engine.address.text,
          socket: users[DeviceHandle(engine: engine.handle, device: number)])
      }
    }
  }

  func deviceDetail(_ numbers: DeviceNumbers) throws -> DeviceDetail {
    let handle = try handle(numbers)
    guard let summary = deviceSummaries(of: registry.engines).first(where: { $0.numbers == numbers }) else {
      throw VDPAError(
        .unknownDevice, "\(numbers) is no device of its own: software makes one for each socket (`socket show`)")
    }
    return DeviceDetail(summary, DeviceExtras(try attributes(of: handle)))
  }

  /// What a device has. One that nobody has is claimed for a moment.
  private func attributes(of handle: DeviceHandle) throws -> DeviceAttributes {
    let user = sockets.first { $0.socket.binding == handle }
    if let attributes = user?.socket.deviceAttributes { return attributes }
    do {
      return try attributes(of: handle, type: .net)
    } catch let error as VDPAError where error.code == .wrongDeviceType {
      return try attributes(of: handle, type: .block)
    }
  }

  private func attributes(of handle: DeviceHandle, type: DeviceType) throws -> DeviceAttributes {
    let device = try registry.claim(handle, type: type, owner: "device show")
    defer { device.release() }
    return device.attributes
  }
}

extension EngineSummary {
  fileprivate init(_ engine: Registry.EngineInformation) {
    self.init(
      id: engine.handle.id, driver: engine.driver, address: engine.address.text, devices: engine.attributes.deviceCount)
  }
}

extension DeviceExtras {
  fileprivate init(_ device: DeviceAttributes) {
    self.init(
      type: "\(device.type)", queues: device.queueCount, ringSize: device.maxRingSize,
      features: device.features.describe(for: device.type), protocolFeatures: "\(device.protocolFeatures)",
      startsAnywhere: device.startsAnywhere, completesInOrder: device.completesInOrder)
  }
}
