import VDPA

/// What a session tells whoever made it, and asks of it; all on the loop's thread.
struct SessionHandlers: Sendable {
  /// Something happened.
  var event: @Sendable (SocketEvent) -> Void
  /// After each message: what the session lacks may have changed.
  var change: @Sendable () -> Void
  /// Once, when the connection has ended and the device is closed.
  var end: @Sendable (VhostUserError) -> Void
  /// What is done about a device that makes no progress; nil for nothing.
  var stalls: StallPolicy?
  /// Whether another device stands by for one that fails.
  var hasStandby: @Sendable () -> Bool = { false }
  /// That device is to take over, as soon as the session can be asked for that (``Session/switchDevice(_:)``).
  var failOver: @Sendable (VDPAError) -> Void = { _ in }
  /// A device that serves in place of one that keeps no dirty log, while writes are noted; nil when there is none.
  /// `lent` is told whether it does.
  var borrow: @Sendable () -> DeviceContext? = { nil }
  var lent: @Sendable (DeviceContext, Bool) -> Void = { _, _ in }
  /// Writes are noted no longer: the device that was lent is to be given back, if there is one.
  var giveBack: @Sendable () -> Void = {}
}
