/// What has happened on one vring since its device, or the application port that it is of, was made. All values count up;
/// lengths are in bytes.
///
/// It has what the field is used to from DPDK, and more; ``named`` has the values by those names. A device that does not
/// count something leaves it 0.
public struct VringStatistics: Sendable, Hashable {
  // MARK: What went through

  /// Packets or requests that went through.
  public var packets: UInt64 = 0
  /// Their payload in bytes.
  public var bytes: UInt64 = 0
  /// Packets to a group of stations, those to all excepted.
  public var multicastPackets: UInt64 = 0
  /// Packets to all stations.
  public var broadcastPackets: UInt64 = 0
  /// Packets with fewer than 64 bytes. A frame comes without its checksum, so the shortest has 60.
  public var undersizePackets: UInt64 = 0
  /// Packets with 64 bytes.
  public var size64Packets: UInt64 = 0
  /// Packets with 65 to 127 bytes.
  public var size65To127Packets: UInt64 = 0
  /// Packets with 128 to 255 bytes.
  public var size128To255Packets: UInt64 = 0
  /// Packets with 256 to 511 bytes.
  public var size256To511Packets: UInt64 = 0
  /// Packets with 512 to 1023 bytes.
  public var size512To1023Packets: UInt64 = 0
  /// Packets with 1024 to 1518 bytes.
  public var size1024To1518Packets: UInt64 = 0
  /// Packets with 1519 bytes or more.
  public var size1519ToMaxPackets: UInt64 = 0
  /// Packets or requests by how many descriptors they had, those of indirect tables included and, for a packet that was
  /// received in several buffers, all chains together: 1, 2, 3 to 4, 5 to 8, 9 to 16, 17 to 32, 33 to 64, and more.
  public var chainLengths = [UInt64](repeating: 0, count: chainLengthNames.count)

  // MARK: What did not

  /// Packets that were taken from the guest, or were meant for it, and went nowhere.
  public var dropped: UInt64 = 0
  /// Packets that fit into no buffer of the guest, or were longer than whoever takes them takes; among ``dropped``.
  public var oversized: UInt64 = 0
  /// Packets whose header contradicts them or what was negotiated (virtio 1.2, §5.1.6); among ``dropped``.
  public var invalidHeaders: UInt64 = 0
  /// Times that packets had to wait in the ring because the application's packet pool was empty.
  public var allocationFailures: UInt64 = 0
  /// Times the ring was found broken.
  public var broken: UInt64 = 0

  // MARK: Notifications

  /// Times the guest was seen to have kicked. Whoever polls the ring, a worker or an application, sees no kicks.
  public var kicks: UInt64 = 0
  /// Calls made to the guest.
  public var calls: UInt64 = 0
  /// Calls not made because the guest asked for none.
  public var suppressedCalls: UInt64 = 0
  /// Calls that the guest's descriptor did not take, because its count was at the maximum or it was closed.
  public var failedCalls: UInt64 = 0
  /// Calls left to another thread; 0, for every call is made at once as long as there is no such thread.
  public var offloadedCalls: UInt64 = 0

  /// Times that the ring had to wait for the translation of an address (`VIRTIO_F_ACCESS_PLATFORM`).
  public var iotlbMisses: UInt64 = 0

  // MARK: What features count that are not there yet

  /// Addresses that the IOTLB had; 0, for what costs nothing is not counted.
  public var iotlbHits: UInt64 = 0
  /// Copies that were given to a DMA channel; 0 until vrings can have one.
  public var inflightSubmitted: UInt64 = 0
  /// Copies that a DMA channel has finished; 0 until vrings can have one.
  public var inflightCompleted: UInt64 = 0

  /// Nothing has happened yet.
  public init() {}
}
