import VDPA
import Virtio

/// What a session offers its front-end: the socket's settings and what the device has, put together.
struct SessionOffer: Sendable {
  /// The device type.
  var type: DeviceType
  /// The virtio features, without the bits that belong to the protocol.
  var features: Features
  /// The protocol features.
  var protocolFeatures: ProtocolFeatures
  /// The queues as users count them: pairs for net, rings for block.
  var queues: Int
  /// The largest ring, in descriptors.
  var maxRingSize: Int
  /// Which kinds of file may be guest memory.
  var memoryPolicy: MemoryMapping.FilePolicy

  init(
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

  /// The features of rings and transport that a session can serve, whatever a device has: what is not here needs a
  /// part of the protocol that is not served.
  static let servedFeatures = Features(rawValue: .max).subtracting([.logAll, .protocolFeatures])
  /// The protocol features of which the session takes care alone: offered whatever the device is.
  static let sessionProtocolFeatures: ProtocolFeatures = [
    .multiqueue, .replyAck, .backendRequests, .backendSendFD, .resetDevice, .memorySlots,
  ]
  /// Those of which the session takes care alone, too, but that front-ends acknowledge without knowing them, or that
  /// stand for something else in some: offered only where that was asked for.
  static let optionalProtocolFeatures: ProtocolFeatures = [.crossEndian, .inbandNotifications, .guestAddresses]
  /// The protocol features that a session can serve for a device that has them.
  static let deviceProtocolFeatures: ProtocolFeatures = [
    .logSharedMemory, .mtu, .rarp, .configuration, .hostNotifier, .inflightSharedMemory, .status, .sharedObject,
    .deviceState, .pageFault,
  ]

  /// What a session can offer of a device: what the device has and the session can serve.
  static func attributes(of device: DeviceContext) -> DeviceAttributes {
    var attributes = device.attributes
    attributes.features.formIntersection(servedFeatures)
    attributes.protocolFeatures.formIntersection(deviceProtocolFeatures)
    if !device.canLog { attributes.protocolFeatures.remove(.logSharedMemory) }
    attributes.protocolFeatures.formUnion(sessionProtocolFeatures)
    if PageFaults.lack != nil { attributes.protocolFeatures.remove(.pageFault) }
    return attributes
  }

  /// What GET_FEATURES answers. QEMU refuses a back-end that offers ACCESS_PLATFORM and cannot ask for translations, whether
  /// its guest has an IOMMU or not.
  var wireFeatures: Features {
    let canAsk = protocolFeatures.isSuperset(of: [.backendRequests, .replyAck])
    return (canAsk ? features : features.subtracting(.accessPlatform))
      .union(protocolFeatures.contains(.logSharedMemory) ? [.protocolFeatures, .logAll] : .protocolFeatures)
  }
  var vringCount: Int { queues * type.ringsPerQueue }
}
