extension Features {
  /// The names of the features for people, with their numbers: `VIRTIO_NET_F_MRG_RXBUF (15), VIRTIO_F_VERSION_1 (32)`.
  ///
  /// - Parameter type: The device type that gives bits 0–23 and 50–63 their meaning.
  /// - Returns: The names, ascending, separated by commas; `none` for the empty set; `bit n` for a bit without a name.
  public func describe(for type: DeviceType) -> String {
    if isEmpty { return "none" }
    return bits.map { bit in
      Features.name(of: bit, for: type).map { "\($0) (\(bit))" } ?? "bit \(bit)"
    }.joined(separator: ", ")
  }

  /// The standard's name of a feature, nil when it gives none.
  private static func name(of bit: Int, for type: DeviceType) -> String? {
    if let name = transportNames[bit] { return name }
    switch type {
    case .net: return netNames[bit].map { "VIRTIO_NET_F_\($0)" }
    case .block: return blockNames[bit].map { "VIRTIO_BLK_F_\($0)" }
    default: return nil
    }
  }

  private static let transportNames: [Int: String] = [
    24: "VIRTIO_F_NOTIFY_ON_EMPTY", 26: "VHOST_F_LOG_ALL", 27: "VIRTIO_F_ANY_LAYOUT", 28: "VIRTIO_F_INDIRECT_DESC",
    29: "VIRTIO_F_EVENT_IDX", 30: "VHOST_USER_F_PROTOCOL_FEATURES", 32: "VIRTIO_F_VERSION_1",
    33: "VIRTIO_F_ACCESS_PLATFORM", 34: "VIRTIO_F_RING_PACKED", 35: "VIRTIO_F_IN_ORDER", 36: "VIRTIO_F_ORDER_PLATFORM",
    37: "VIRTIO_F_SR_IOV", 38: "VIRTIO_F_NOTIFICATION_DATA", 39: "VIRTIO_F_NOTIF_CONFIG_DATA",
    40: "VIRTIO_F_RING_RESET", 41: "VIRTIO_F_ADMIN_VQ",
  ]

  private static let netNames: [Int: String] = [
    0: "CSUM", 1: "GUEST_CSUM", 2: "CTRL_GUEST_OFFLOADS", 3: "MTU", 5: "MAC", 6: "GSO", 7: "GUEST_TSO4",
    8: "GUEST_TSO6", 9: "GUEST_ECN", 10: "GUEST_UFO", 11: "HOST_TSO4", 12: "HOST_TSO6", 13: "HOST_ECN", 14: "HOST_UFO",
    15: "MRG_RXBUF", 16: "STATUS", 17: "CTRL_VQ", 18: "CTRL_RX", 19: "CTRL_VLAN", 20: "CTRL_RX_EXTRA",
    21: "GUEST_ANNOUNCE", 22: "MQ", 23: "CTRL_MAC_ADDR", 51: "HASH_TUNNEL", 52: "VQ_NOTF_COAL",
    53: "NOTF_COAL", 54: "GUEST_USO4", 55: "GUEST_USO6", 56: "HOST_USO", 57: "HASH_REPORT", 59: "GUEST_HDRLEN",
    60: "RSS", 61: "RSC_EXT", 62: "STANDBY", 63: "SPEED_DUPLEX",
  ]

  private static let blockNames: [Int: String] = [
    0: "BARRIER", 1: "SIZE_MAX", 2: "SEG_MAX", 4: "GEOMETRY", 5: "RO", 6: "BLK_SIZE", 7: "SCSI", 9: "FLUSH",
    10: "TOPOLOGY", 11: "CONFIG_WCE", 12: "MQ", 13: "DISCARD", 14: "WRITE_ZEROES", 15: "LIFETIME", 16: "SECURE_ERASE",
    17: "ZONED",
  ]
}
