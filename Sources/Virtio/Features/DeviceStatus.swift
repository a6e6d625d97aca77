/// The device status field, by which a driver says how far it has come (virtio 1.2, §2.1).
public struct DeviceStatus: OptionSet, Sendable, Hashable {
  /// The bits of the field.
  public let rawValue: UInt8

  /// The status with those bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// `ACKNOWLEDGE`: the guest has found the device.
  public static let acknowledge = DeviceStatus(rawValue: 1)
  /// `DRIVER`: the guest has a driver for it.
  public static let driver = DeviceStatus(rawValue: 2)
  /// `DRIVER_OK`: the driver is ready.
  public static let driverOK = DeviceStatus(rawValue: 4)
  /// `FEATURES_OK`: the features are agreed upon.
  public static let featuresOK = DeviceStatus(rawValue: 8)
  /// `DEVICE_NEEDS_RESET`: the device has failed and wants a reset.
  public static let needsReset = DeviceStatus(rawValue: 0x40)
  /// `FAILED`: the driver has given up.
  public static let failed = DeviceStatus(rawValue: 0x80)
}
