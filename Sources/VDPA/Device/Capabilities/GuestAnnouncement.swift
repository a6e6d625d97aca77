public import Virtio

/// A device that can tell its network where a guest is to be found now.
public protocol GuestAnnouncement {
  /// Sends a broadcast RARP request in the guest's name (vhost-user, SEND_RARP).
  ///
  /// - Parameter address: The guest's.
  /// - Throws: Any error.
  func announce(_ address: MACAddress) throws
}
