public import VDPA

extension VhostUserSocket {
  /// What the device has that the socket has claimed, offered or not; nil while it has claimed none.
  public var deviceAttributes: DeviceAttributes? { withSetup { $0.device?.attributes } }
}
