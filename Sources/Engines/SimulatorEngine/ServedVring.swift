internal import VDPA
internal import Virtio

/// A vring that a device serves. Belongs to the device's thread.
final class ServedVring {
  let index: Int
  var description: VringDescription
  var isEnabled: Bool
  var ring: DeviceRing
  /// What the kick descriptor is registered under; nil when there is none, or none that is watched any more.
  var kickToken: UInt64?
  /// Whether the ring was found broken. Nothing more is fetched from it or written to it then.
  var isBroken = false
  var statistics: VringStatistics

  init(
    _ description: VringDescription, isEnabled: Bool, memory: RingMemory, features: Features, kickToken: UInt64?,
    statistics: VringStatistics
  ) {
    index = description.index
    self.description = description
    self.isEnabled = isEnabled
    ring = DeviceRing(
      memory, features: features, nextAvail: description.state.nextAvail, nextUsed: description.state.nextUsed)
    self.kickToken = kickToken
    self.statistics = statistics
  }

  /// Where it stands.
  var state: VringState { VringState(index: index, nextAvail: ring.nextAvail, nextUsed: ring.nextUsed) }

  /// Whether it has to be looked at without being kicked.
  var isPolled: Bool { description.kick == nil && !isBroken }

  /// Calls the guest if it wants to be called.
  func call() {
    guard ring.wantsCall() else {
      statistics.suppressedCalls &+= 1
      return
    }
    guard let call = description.call else { return }
    if EventFD.signal(call) { statistics.calls &+= 1 } else { statistics.failedCalls &+= 1 }
  }
}
