/// The configuration space of a network device (virtio 1.2, §5.1.4), little-endian on the wire.
public struct NetConfiguration: Sendable, Hashable {
  /// The MAC address, six bytes in transmission order; valid with `VIRTIO_NET_F_MAC`.
  public var mac: MACAddress
  /// Bit 0 link up, bit 1 announcement wanted; valid with `VIRTIO_NET_F_STATUS`.
  public var status: UInt16
  /// How many queue pairs there are, 1 to 0x8000; valid with `VIRTIO_NET_F_MQ`.
  public var maxQueuePairs: UInt16
  /// The largest MTU in bytes, at least 68; valid with `VIRTIO_NET_F_MTU`.
  public var mtu: UInt16

  /// The length of the encoded fields in bytes.
  public static let byteCount = 12

  /// Bit 0 of ``status``: the link is up.
  public static let linkUp: UInt16 = 1

  /// The longest frame in bytes that the MTU allows: with an Ethernet header and two VLAN tags, which the MTU does not
  /// count (virtio 1.2, §5.1.4.1).
  public var frameLength: Int { Int(mtu) + 14 + 2 * 4 }

  /// A configuration; the link is up and the MTU is 1500 unless said otherwise.
  public init(
    mac: MACAddress, status: UInt16 = NetConfiguration.linkUp, maxQueuePairs: UInt16 = 1, mtu: UInt16 = 1500
  ) {
    self.mac = mac
    self.status = status
    self.maxQueuePairs = maxQueuePairs
    self.mtu = mtu
  }

  /// Reads the fields from the start of a configuration space.
  ///
  /// - Parameter bytes: At least ``byteCount`` bytes.
  /// - Returns: nil when there are fewer.
  public init?(decoding bytes: [UInt8]) {
    guard bytes.count >= NetConfiguration.byteCount, let mac = MACAddress(bytes: Array(bytes[0..<6])) else {
      return nil
    }
    func field(_ offset: Int) -> UInt16 { UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8 }
    self.init(mac: mac, status: field(6), maxQueuePairs: field(8), mtu: field(10))
  }

  /// The fields as they stand in the configuration space: ``byteCount`` bytes.
  public var encoded: [UInt8] {
    var bytes = mac.bytes
    for value in [status, maxQueuePairs, mtu] {
      bytes.append(UInt8(truncatingIfNeeded: value))
      bytes.append(UInt8(truncatingIfNeeded: value >> 8))
    }
    return bytes
  }
}
