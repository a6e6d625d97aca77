/// The counters of a device. May be read from any thread at any time.
public protocol DeviceStatistics: Sendable {
  /// The counters of each vring, by index.
  var vrings: [VringStatistics] { get }
}
