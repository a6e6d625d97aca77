internal import VDPA

/// What a device does with the vrings of one of its queues. Belongs to the device's thread.
protocol ServedQueue: AnyObject {
  /// The vrings.
  var vrings: [ServedVring] { get }

  /// How many chains it has fetched and not returned.
  var inFlight: Int { get }

  /// When something in flight is due, in nanoseconds of `MonotonicClock`; nil when nothing is in flight.
  var nextDue: UInt64? { get }

  /// Fetches what there is, a bounded burst of it, and completes what is due.
  ///
  /// - Parameter now: The time.
  /// - Returns: Whether anything could be done.
  func serve(at now: UInt64) -> Bool

  /// Completes everything that is in flight, whether it is due or not, and fetches nothing.
  func finish()

  /// Forgets what is in flight, without touching memory.
  func drop()
}
