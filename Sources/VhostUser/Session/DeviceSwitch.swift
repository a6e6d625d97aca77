import VDPA

/// A hand-over to another device that a session was asked for.
struct DeviceSwitch: Sendable {
  /// What has come of it.
  enum Outcome: Sendable {
    /// The new device serves the rings, or will.
    case switched
    /// It does not, and the old one does as before.
    case failed(VDPAError)
    /// Another device has taken the place of the one that this was for.
    case superseded
    /// The connection has ended before anything was done.
    case disconnected
  }

  /// The device that is to serve.
  let device: DeviceContext
  /// The device that has failed, if it is for that: the new one is known to be the same to the guest, and is not wanted in
  /// place of any other.
  var replaced: DeviceContext? = nil
  /// Whether another one stands by for it that keeps a dirty log.
  var canBorrow = false
  /// Called on the loop's thread, once.
  let done: @Sendable (Outcome) -> Void
}
