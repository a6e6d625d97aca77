public import Virtio

/// What a device is and offers (design: `info_query`).
public struct DeviceAttributes: Sendable, Hashable {
  /// The virtio device type.
  public var type: DeviceType
  /// The virtio features that the device offers, without those that belong to the protocol (26 and 30).
  public var features: Features
  /// The protocol features that the device can serve.
  public var protocolFeatures: ProtocolFeatures
  /// How many rings the device has.
  public var vringCount: Int
  /// The largest ring, in descriptors; a power of two.
  public var maxRingSize: Int
  /// The addresses that the device can reach.
  public var iovaRange: ClosedRange<UInt64>
  /// Whether a ring can start at any position, or only at 0.
  public var startsAnywhere: Bool
  /// Whether the device completes what it fetched in the order in which it fetched it.
  public var completesInOrder: Bool
  /// Whether operations may block; the framework then gives the device a thread.
  public var operationsMayBlock: Bool

  /// Attributes; the defaults are those of a device without limits whose operations may block.
  public init(
    type: DeviceType, features: Features, protocolFeatures: ProtocolFeatures, vringCount: Int,
    maxRingSize: Int = 32768, iovaRange: ClosedRange<UInt64> = 0...UInt64.max, startsAnywhere: Bool = true,
    completesInOrder: Bool = true, operationsMayBlock: Bool = true
  ) {
    self.type = type
    self.features = features
    self.protocolFeatures = protocolFeatures
    self.vringCount = vringCount
    self.maxRingSize = maxRingSize
    self.iovaRange = iovaRange
    self.startsAnywhere = startsAnywhere
    self.completesInOrder = completesInOrder
    self.operationsMayBlock = operationsMayBlock
  }

  /// The queues as users count them: pairs for net, rings for block.
  public var queueCount: Int { vringCount / type.ringsPerQueue }

  /// What this device and another one both have.
  public func common(with other: DeviceAttributes) -> DeviceAttributes {
    var common = self
    common.features.formIntersection(other.features)
    common.protocolFeatures.formIntersection(other.protocolFeatures)
    common.vringCount = min(vringCount, other.vringCount)
    common.maxRingSize = min(maxRingSize, other.maxRingSize)
    return common
  }
}
