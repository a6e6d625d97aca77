import CLinux
import Testing

@testable import Virtio

@Suite struct FeaturesTests {
  @Test func names() {
    #expect(Features([]).describe(for: .net) == "none")
    #expect(
      Features([.version1, .netMergeableBuffers]).describe(for: .net)
        == "VIRTIO_NET_F_MRG_RXBUF (15), VIRTIO_F_VERSION_1 (32)")
    #expect(Features(bit: 5).describe(for: .net) == "VIRTIO_NET_F_MAC (5)")
    #expect(Features(bit: 5).describe(for: .block) == "VIRTIO_BLK_F_RO (5)")
    #expect(Features(bit: 5).describe(for: DeviceType(rawValue: 26)) == "bit 5")
    #expect(Features(bit: 49).describe(for: .net) == "bit 49")
    #expect(Features(bit: 26).describe(for: .block) == "VHOST_F_LOG_ALL (26)")
    #expect(Features(bit: 30).describe(for: .block) == "VHOST_USER_F_PROTOCOL_FEATURES (30)")
    #expect(Features(rawValue: .max).bits == Array(0..<64))
    for type in [DeviceType.net, .block] {
      let all = Features(rawValue: .max).describe(for: type).split(separator: ", ")
      #expect(
        all.count == 64
          && Set(all.map { $0.prefix { $0 != "(" } }.filter { !$0.hasPrefix("bit") }).count
            == all.filter { !$0.hasPrefix("bit") }.count
      )
    }
  }

  /// Each name with its number as the standard has them.
  @Test(arguments: [
    (0, "CSUM"), (1, "GUEST_CSUM"), (2, "CTRL_GUEST_OFFLOADS"), (3, "MTU"), (5, "MAC"), (7, "GUEST_TSO4"),
    (8, "GUEST_TSO6"), (9, "GUEST_ECN"), (10, "GUEST_UFO"), (11, "HOST_TSO4"), (12, "HOST_TSO6"), (13, "HOST_ECN"),
    (14, "HOST_UFO"), (15, "MRG_RXBUF"), (16, "STATUS"), (17, "CTRL_VQ"), (18, "CTRL_RX"), (19, "CTRL_VLAN"),
    (20, "CTRL_RX_EXTRA"), (21, "GUEST_ANNOUNCE"), (22, "MQ"), (23, "CTRL_MAC_ADDR"), (53, "NOTF_COAL"),
    (54, "GUEST_USO4"), (55, "GUEST_USO6"), (56, "HOST_USO"), (57, "HASH_REPORT"), (59, "GUEST_HDRLEN"), (60, "RSS"),
    (61, "RSC_EXT"), (62, "STANDBY"), (63, "SPEED_DUPLEX"),
  ]) func netName(bit: Int, name: String) {
    #expect(Features(bit: bit).describe(for: .net) == "VIRTIO_NET_F_\(name) (\(bit))")
  }

  @Test func constants() {
    let expected: [(Features, Int)] = [
      (.notifyOnEmpty, 24), (.logAll, 26), (.anyLayout, 27), (.indirectDescriptors, 28), (.eventIndex, 29),
      (.protocolFeatures, 30), (.version1, 32), (.accessPlatform, 33), (.packedRing, 34), (.inOrder, 35),
      (.orderPlatform, 36), (.netMTU, 3), (.netMAC, 5), (.netMergeableBuffers, 15), (.netStatus, 16),
      (.netControlQueue, 17), (.netControlReceive, 18), (.netGuestAnnounce, 21), (.netMultiqueue, 22),
      (.netChecksum, 0), (.netGuestChecksum, 1), (.netControlGuestOffloads, 2), (.netGuestTSO4, 7), (.netGuestTSO6, 8),
      (.netGuestECN, 9), (.netGuestUFO, 10), (.netHostTSO4, 11), (.netHostTSO6, 12), (.netHostECN, 13),
      (.netHostUFO, 14),
      (.blockSizeMax, 1), (.blockSegMax, 2), (.blockGeometry, 4), (.blockReadOnly, 5), (.blockSize, 6),
      (.blockFlush, 9), (.blockTopology, 10), (.blockConfigWCE, 11), (.blockMultiqueue, 12), (.blockDiscard, 13),
      (.blockWriteZeroes, 14),
    ]
    for (feature, bit) in expected { #expect(feature.bits == [bit]) }
    #expect(Features.netOffloads.bits == [0, 1, 7, 8, 9, 11, 12, 13])
  }

  @Test func status() {
    let bits: [(DeviceStatus, UInt8)] = [
      (.acknowledge, 1), (.driver, 2), (.driverOK, 4), (.featuresOK, 8), (.needsReset, 64), (.failed, 128),
    ]
    for (status, value) in bits { #expect(status.rawValue == value) }
  }

  @Test func deviceTypes() {
    #expect(DeviceType.net.rawValue == 1 && DeviceType.block.rawValue == 2)
    #expect(DeviceType.net.description == "net" && DeviceType.block.description == "block")
    #expect(DeviceType(rawValue: 26).description == "virtio device 26")
    #expect(DeviceType.net.ringsPerQueue == 2 && DeviceType.block.ringsPerQueue == 1)
  }
}
