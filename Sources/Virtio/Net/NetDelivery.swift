/// What has to be done with a packet so that a guest can take it (virtio 1.2, §5.1.6.4).
package enum NetDelivery: Sendable, Hashable {
  /// The packet goes as it is, behind this header.
  case asIs(NetHeader)
  /// The checksum has to be computed first; then it goes behind a header of zeros.
  case completeChecksum(start: Int, offset: Int)
  /// These segments go instead, each behind this header.
  case segments(TCPSegmentation, NetHeader)
  /// It cannot go to this guest.
  case drop(NetHeaderFault)
}

extension NetOffload {
  /// What has to be done so that a guest can take the packet.
  ///
  /// A checksum that is still to be computed stays so if the guest takes it: nothing but a copy lies between the two.
  /// `DATA_VALID` is said of what has been computed here, and of nothing that a guest claims.
  ///
  /// - Parameters:
  ///   - length: The length of the packet in bytes.
  ///   - features: What the guest has negotiated; of these the bits of ``Features/netGuestOffloads`` count.
  ///   - maxLength: The longest frame in bytes that this guest takes in one piece (``NetConfiguration/frameLength``).
  package func delivery(length: Int, to features: Features, maxLength: Int = .max) -> NetDelivery {
    switch self {
    case .invalid(let fault): return .drop(fault)
    case .none, .checksum:
      guard length <= maxLength else { return .drop(.longerThanMTU) }
      guard case .checksum(let start, let offset) = self else { return .asIs(NetHeader()) }
      guard features.contains(.netGuestChecksum) else { return .completeChecksum(start: start, offset: offset) }
      return .asIs(
        NetHeader(
          flags: NetHeader.needsChecksum, checksumStart: UInt16(start), checksumOffset: UInt16(offset)))
    case .segmentation(let packet):
      var needed: Features = [.netGuestChecksum, packet.headers.isIPv6 ? .netGuestTSO6 : .netGuestTSO4]
      if packet.hasECN { needed.insert(.netGuestECN) }
      if features.contains(needed) { return .asIs(packet.header) }
      guard let segments = packet.limited(to: maxLength) else { return .drop(.longerThanMTU) }
      return .segments(
        segments, NetHeader(flags: features.contains(.netGuestChecksum) ? NetHeader.dataValid : 0))
    }
  }
}
