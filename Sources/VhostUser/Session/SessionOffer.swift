package import VDPA
package import Virtio

/// What a session offers its front-end: the socket's settings and what the device has, put together.
package struct SessionOffer: Sendable {
  /// The device type.
  package var type: DeviceType
  /// The virtio features, without the bits that belong to the protocol.
  package var features: Features
  /// The protocol features.
  package var protocolFeatures: ProtocolFeatures
  /// The queues as users count them: pairs for net, rings for block.
  package var queues: Int
  /// The largest ring, in descriptors.
  package var maxRingSize: Int
  /// Which kinds of file may be guest memory.
  package var memoryPolicy: MemoryMapping.FilePolicy

  package init(
    type: DeviceType, features: Features, protocolFeatures: ProtocolFeatures, queues: Int, maxRingSize: Int,
    memoryPolicy: MemoryMapping.FilePolicy = .memoryOnly
  ) {
    self.type = type
    self.features = features
    self.protocolFeatures = protocolFeatures
    self.queues = queues
    self.maxRingSize = maxRingSize
    self.memoryPolicy = memoryPolicy
  }

  /// What GET_FEATURES answers.
  var wireFeatures: Features { features.union(.protocolFeatures) }
  var vringCount: Int { queues * type.ringsPerQueue }
}
