/// A device and what it offers.
package typealias DeviceDetail = Joined<DeviceSummary, DeviceExtras>

/// What `device.show` has beyond the list.
package struct DeviceExtras: Codable, Sendable {
  /// The virtio device type.
  package var type: String
  /// The queues as users count them: pairs for net, rings for block.
  package var queues: Int
  /// The largest ring in descriptors.
  package var ringSize: Int
  /// The virtio features, in words.
  package var features: String
  /// The protocol features, in words.
  package var protocolFeatures: String
  /// Whether a ring can start at any position, or only at 0.
  package var startsAnywhere: Bool
  /// Whether it completes what it fetched in the order in which it fetched it.
  package var completesInOrder: Bool

  package init(
    type: String, queues: Int, ringSize: Int, features: String, protocolFeatures: String, startsAnywhere: Bool,
    completesInOrder: Bool
  ) {
    (self.type, self.queues, self.ringSize) = (type, queues, ringSize)
    (self.features, self.protocolFeatures) = (features, protocolFeatures)
    (self.startsAnywhere, self.completesInOrder) = (startsAnywhere, completesInOrder)
  }
}
