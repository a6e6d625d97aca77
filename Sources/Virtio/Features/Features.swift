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

  /// `VIRTIO_NET_F_MTU` (3): the configuration has the largest MTU.
  public static let netMTU = Features(bit: 3)
  /// `VIRTIO_NET_F_MAC` (5): the configuration has the MAC address.
  public static let netMAC = Features(bit: 5)
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
}
