internal import VDPA
public import Virtio

/// What a ``SoftwareDevice`` is told of a ring that is about to be served.
public struct QueueContext: Sendable {
  /// The features that the guest's driver has accepted: those of the device type, and those of rings.
  public let features: Features
  private let queue: Int
  private let observer: (any DeviceObserver)?

  init(queue: Int, features: Features, observer: (any DeviceObserver)?) {
    self.queue = queue
    self.features = features
    self.observer = observer
  }

  /// Tells the operator that requests of this ring fail, and why. The ring is served all the same.
  ///
  /// May be called from any thread, and must not be called for each request: a guest could make any number of lines.
  public func report(_ reason: String) {
    observer?.deviceReports(.requestsFail(index: queue, reason: reason))
  }
}
