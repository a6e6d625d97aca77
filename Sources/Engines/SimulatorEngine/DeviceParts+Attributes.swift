internal import VDPA
internal import Virtio

extension DeviceParts {
  /// What the device offers with at most that many queues: what a device of its type in software offers by default, as far as
  /// hardware can, less what it was told to do without.
  ///
  /// Hardware cannot wait for memory that arrives late (postcopy), and a net device is not asked for a record of what is in
  /// flight.
  func attributes(queues: Int) -> DeviceAttributes {
    var features = DeviceRing.features.union(.accessPlatform)
    var protocolFeatures: ProtocolFeatures = [.multiqueue, .replyAck, .status, .memorySlots]
    if settings.hasDirtyTracking { protocolFeatures.insert(.logSharedMemory) }
    if settings.hasNotifyArea { protocolFeatures.formUnion([.backendRequests, .backendSendFD, .hostNotifier]) }
    if let disk {
      features.formUnion(disk.features(queues: queues))
      protocolFeatures.formUnion([.configuration, .inflightSharedMemory])
    } else {
      features.formUnion([
        .netMergeableBuffers, .netMAC, .netStatus, .netMTU, .netControlQueue, .netControlReceive, .netGuestAnnounce,
      ])
      if queues > 1 { features.insert(.netMultiqueue) }
      if !settings.without.contains(.announcement) { protocolFeatures.insert(.rarp) }
      if !settings.without.contains(.mtuControl) { protocolFeatures.insert(.mtu) }
    }
    if settings.order == .outOfOrder { features.remove(.inOrder) }
    return DeviceAttributes(
      type: settings.type, features: features.subtracting(settings.withoutFeatures), protocolFeatures: protocolFeatures,
      vringCount: queues * settings.type.ringsPerQueue, maxRingSize: settings.ringSize,
      startsAnywhere: !settings.without.contains(.anyStart),
      completesInOrder: settings.order == .inOrder, operationsMayBlock: true)
  }
}
