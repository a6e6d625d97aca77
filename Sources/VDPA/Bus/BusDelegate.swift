/// Hears of what happens on a bus.
public protocol BusDelegate: AnyObject, Sendable {
  /// Something has happened. Called on the thread that did it, under no lock, so that a device may be claimed from here; what
  /// two threads do at once may be told in either order.
  func bus(_ registry: Registry, event: BusEvent)
}
