public import Virtio

/// Says for which bus driver devices are that appear.
///
/// What a rule does not say it does not look at. The first rule that fits sets the device's `driverOverride`; where none
/// does, any bus driver may claim it.
public struct MatchRule: Sendable, Hashable {
  /// The name of the engine's driver.
  public var engineDriver: String?
  /// Where the engine is (``EngineAddress/text``).
  public var address: String?
  /// The device's number within its engine.
  public var device: Int?
  /// The virtio type; a device whose type is not known before it is claimed does not fit.
  public var type: DeviceType?
  /// Who gets the devices.
  public var busDriver: BusDriver

  /// A rule; without conditions it fits all devices.
  public init(
    engineDriver: String? = nil, address: String? = nil, device: Int? = nil, type: DeviceType? = nil,
    busDriver: BusDriver
  ) {
    self.engineDriver = engineDriver
    self.address = address
    self.device = device
    self.type = type
    self.busDriver = busDriver
  }

  /// Whether a device is as the rule says.
  public func fits(_ candidate: BusDevice) -> Bool {
    func agrees<Value: Equatable>(_ wanted: Value?, _ found: Value?) -> Bool { wanted == nil || wanted == found }
    return agrees(engineDriver, candidate.engineDriver) && agrees(address, candidate.address.text)
      && agrees(device, candidate.handle.device) && agrees(type, candidate.attributes?.type)
  }
}
