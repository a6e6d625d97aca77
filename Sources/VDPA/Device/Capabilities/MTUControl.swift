/// A net device whose MTU can be set (vhost-user, NET_SET_MTU).
public protocol MTUControl {
  /// Sets the MTU, as the guest's operator has configured it.
  ///
  /// - Parameter mtu: Bytes of payload of an Ethernet frame, at least 68.
  /// - Throws: Any error, when the device cannot have that one.
  func setMTU(_ mtu: UInt16) throws
}
