/// What happens on the bus.
public enum BusEvent: Sendable, Hashable {
  /// A device has come, with its engine. A bus driver that takes devices by rule claims it if it is for it
  /// (``BusDevice/driverOverride``).
  case appeared(BusDevice)
  /// A device has gone, with its engine. Its handle stands for nothing any more.
  case disappeared(DeviceHandle)
  /// A bus driver has claimed a device.
  case claimed(BusDevice)
  /// A bus driver has given a device back.
  case released(DeviceHandle)
}
