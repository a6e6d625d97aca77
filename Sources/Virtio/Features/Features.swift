/// A set of virtio feature bits (virtio 1.2, §2.2 and §6), as offered by a device or accepted by a driver.
///
/// Bits 0–23 and 50–63 belong to the device type, so the same bit has different names for net and block; the names for
/// people come from ``describe(for:)``.
public struct Features: OptionSet, Sendable, Hashable {
  /// Bit n is feature n.
  public let rawValue: UInt64

  /// The set whose members are the bits that are 1.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The set with the one feature of that number.
  public init(bit: Int) { self.init(rawValue: 1 << UInt64(bit)) }

  /// The numbers of the features in the set, ascending.
  public var bits: [Int] { (0..<64).filter { rawValue & (1 << UInt64($0)) != 0 } }

  // MARK: Rings and transport (virtio 1.2, §6)

  /// `VIRTIO_F_NOTIFY_ON_EMPTY` (24, legacy).
  public static let notifyOnEmpty = Features(bit: 24)
  /// `VHOST_F_LOG_ALL` (26): the device logs the pages that it writes (vhost-user, Migration).
  public static let logAll = Features(bit: 26)
  /// `VIRTIO_F_ANY_LAYOUT` (27, legacy): a header may share its descriptor with what follows.
  public static let anyLayout = Features(bit: 27)
  /// `VIRTIO_F_INDIRECT_DESC` (28).
  public static let indirectDescriptors = Features(bit: 28)
  /// `VIRTIO_F_EVENT_IDX` (29).
  public static let eventIndex = Features(bit: 29)
  /// `VHOST_USER_F_PROTOCOL_FEATURES` (30): the vhost-user back-end negotiates protocol features.
  public static let protocolFeatures = Features(bit: 30)
  /// `VIRTIO_F_VERSION_1` (32): the device follows virtio 1.0 or later.
  public static let version1 = Features(bit: 32)
  /// `VIRTIO_F_ACCESS_PLATFORM` (33): the device reaches memory through an IOMMU.
  public static let accessPlatform = Features(bit: 33)
  /// `VIRTIO_F_RING_PACKED` (34).
  public static let packedRing = Features(bit: 34)
  /// `VIRTIO_F_IN_ORDER` (35).
  public static let inOrder = Features(bit: 35)
  /// `VIRTIO_F_ORDER_PLATFORM` (36).
  public static let orderPlatform = Features(bit: 36)

  // MARK: Network device (virtio 1.2, §5.1.3)

  /// `VIRTIO_NET_F_CSUM` (0): the device completes checksums of packets that the driver sends.
  public static let netChecksum = Features(bit: 0)
  /// `VIRTIO_NET_F_GUEST_CSUM` (1): the driver takes packets whose checksum is not complete.
  public static let netGuestChecksum = Features(bit: 1)
  /// `VIRTIO_NET_F_CTRL_GUEST_OFFLOADS` (2): the driver can change what it takes while the device runs.
  public static let netControlGuestOffloads = Features(bit: 2)
  /// `VIRTIO_NET_F_MTU` (3): the configuration has the largest MTU.
  public static let netMTU = Features(bit: 3)
  /// `VIRTIO_NET_F_MAC` (5): the configuration has the MAC address.
  public static let netMAC = Features(bit: 5)
  /// `VIRTIO_NET_F_GUEST_TSO4` (7): the driver takes large TCP packets over IPv4.
  public static let netGuestTSO4 = Features(bit: 7)
  /// `VIRTIO_NET_F_GUEST_TSO6` (8): the driver takes large TCP packets over IPv6.
  public static let netGuestTSO6 = Features(bit: 8)
  /// `VIRTIO_NET_F_GUEST_ECN` (9): the driver takes large TCP packets with the congestion window reduced flag.
  public static let netGuestECN = Features(bit: 9)
  /// `VIRTIO_NET_F_GUEST_UFO` (10): the driver takes large UDP datagrams.
  public static let netGuestUFO = Features(bit: 10)
  /// `VIRTIO_NET_F_HOST_TSO4` (11): the device segments TCP over IPv4.
  public static let netHostTSO4 = Features(bit: 11)
  /// `VIRTIO_NET_F_HOST_TSO6` (12): the device segments TCP over IPv6.
  public static let netHostTSO6 = Features(bit: 12)
  /// `VIRTIO_NET_F_HOST_ECN` (13): the device segments TCP with the congestion window reduced flag.
  public static let netHostECN = Features(bit: 13)
  /// `VIRTIO_NET_F_HOST_UFO` (14): the device fragments UDP datagrams.
  public static let netHostUFO = Features(bit: 14)
  /// `VIRTIO_NET_F_MRG_RXBUF` (15): a received packet may fill several buffers.
  public static let netMergeableBuffers = Features(bit: 15)
  /// `VIRTIO_NET_F_STATUS` (16): the configuration has the link status.
  public static let netStatus = Features(bit: 16)
  /// `VIRTIO_NET_F_CTRL_VQ` (17): there is a control queue. A vhost-user front-end serves it itself.
  public static let netControlQueue = Features(bit: 17)
  /// `VIRTIO_NET_F_CTRL_RX` (18): receive modes can be set on the control queue.
  public static let netControlReceive = Features(bit: 18)
  /// `VIRTIO_NET_F_GUEST_ANNOUNCE` (21): the guest can announce itself after a migration.
  public static let netGuestAnnounce = Features(bit: 21)
  /// `VIRTIO_NET_F_MQ` (22): several queue pairs.
  public static let netMultiqueue = Features(bit: 22)

  /// The offloads for packets that the driver sends which a net device in software offers.
  public static let netHostOffloads: Features = [.netChecksum, .netHostTSO4, .netHostTSO6, .netHostECN]
  /// The offloads for packets that the driver receives which a net device in software offers.
  public static let netGuestOffloads: Features = [.netGuestChecksum, .netGuestTSO4, .netGuestTSO6, .netGuestECN]
  /// The offloads that a net device in software offers, in both directions.
  ///
  /// Not among them: UDP fragmentation (10, 14), which makes IP fragments, all of them lost with one, and which Linux has
  /// given up; UDP segmentation (54–56); and changes while the device runs (2), which reach a vhost-user front-end only.
  public static let netOffloads: Features = netHostOffloads.union(netGuestOffloads)

  // MARK: Block device (virtio 1.2, §5.2.3)

  /// `VIRTIO_BLK_F_SIZE_MAX` (1): the configuration has the largest size of a segment.
  public static let blockSizeMax = Features(bit: 1)
  /// `VIRTIO_BLK_F_SEG_MAX` (2): the configuration has the largest number of segments of a request.
  public static let blockSegMax = Features(bit: 2)
  /// `VIRTIO_BLK_F_GEOMETRY` (4): the configuration has cylinders, heads and sectors.
  public static let blockGeometry = Features(bit: 4)
  /// `VIRTIO_BLK_F_RO` (5): the device is read-only.
  public static let blockReadOnly = Features(bit: 5)
  /// `VIRTIO_BLK_F_BLK_SIZE` (6): the configuration has the block size.
  public static let blockSize = Features(bit: 6)
  /// `VIRTIO_BLK_F_FLUSH` (9): the driver can flush what was written to stable storage.
  public static let blockFlush = Features(bit: 9)
  /// `VIRTIO_BLK_F_TOPOLOGY` (10): the configuration says how requests are best aligned.
  public static let blockTopology = Features(bit: 10)
  /// `VIRTIO_BLK_F_CONFIG_WCE` (11): the driver can switch the write cache on and off.
  public static let blockConfigWCE = Features(bit: 11)
  /// `VIRTIO_BLK_F_MQ` (12): several request queues.
  public static let blockMultiqueue = Features(bit: 12)
  /// `VIRTIO_BLK_F_DISCARD` (13): the driver can say which sectors it no longer needs.
  public static let blockDiscard = Features(bit: 13)
  /// `VIRTIO_BLK_F_WRITE_ZEROES` (14): the driver can have sectors zeroed without sending zeroes.
  public static let blockWriteZeroes = Features(bit: 14)
}
