/// Why a packet is dropped for what its header says: things that no correct driver writes (virtio 1.2, §5.1.6.2.1).
///
/// Its raw value is the place of its counter.
package enum NetHeaderFault: UInt8, CaseIterable, Sendable, CustomStringConvertible {
  /// A checksum is asked for without `VIRTIO_NET_F_CSUM`.
  case checksumNotNegotiated
  /// The checksum would be stored outside of the packet.
  case checksumOutside
  /// The segmentation that is asked for, or the ECN bit, was not negotiated.
  case segmentationNotNegotiated
  /// There is no such `gso_type`.
  case segmentationUnknown
  /// Segmentation is asked for, and no checksum.
  case segmentationWithoutChecksum
  /// `gso_size` is 0.
  case segmentSizeZero
  /// The packet is not a whole TCP packet over the IP version that `gso_type` names.
  case notTCP
  /// The packet ends inside of its headers, or a length in them is not possible.
  case headerLength
  /// The checksum to be computed is not that of the packet's TCP header.
  case checksumMisplaced
  /// The packet is longer than the MTU allows and not to be segmented.
  case longerThanMTU

  /// For an operator.
  package var description: String {
    switch self {
    case .checksumNotNegotiated: "asks for a checksum without VIRTIO_NET_F_CSUM"
    case .checksumOutside: "asks for a checksum outside of the packet"
    case .segmentationNotNegotiated: "asks for segmentation that was not negotiated"
    case .segmentationUnknown: "has an unknown gso_type"
    case .segmentationWithoutChecksum: "asks for segmentation without a checksum"
    case .segmentSizeZero: "asks for segments of 0 bytes"
    case .notTCP: "asks for segmentation of what is not a TCP packet of that IP version"
    case .headerLength: "has packet headers whose lengths cannot be right"
    case .checksumMisplaced: "asks for segmentation with a checksum that is not that of the TCP header"
    case .longerThanMTU: "is longer than the MTU"
    }
  }
}
