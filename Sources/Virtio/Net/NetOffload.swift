/// What a packet's header asks for, checked against the packet and against what was negotiated (virtio 1.2, §5.1.6.2).
///
/// Both are private copies: a header that the guest can still write is checked in vain.
///
/// A packet whose header is ``invalid(_:)`` is to be dropped and counted. Of the back-ends in the field, the kernel's tap
/// refuses such a packet (EINVAL) and vhost-net drops it; DPDK's vhost forgets what was asked for and hands the packet on
/// with a checksum that is wrong, which the receiver drops without a trace of why. So nothing that could have arrived is
/// lost by dropping it here, and the operator sees the driver's fault where it is made.
package enum NetOffload: Sendable, Hashable {
  /// Nothing: the packet is complete.
  case none
  /// The checksum from `start` to the end is to be stored `offset` bytes behind `start`; both inside of the packet.
  case checksum(start: Int, offset: Int)
  /// The packet is to be cut into segments, which includes their checksums.
  case segmentation(TCPSegmentation)
  /// No correct driver writes such a header.
  case invalid(NetHeaderFault)

  /// Checks a header.
  ///
  /// UDP fragmentation and segmentation are never negotiated: no device here offers them (``Features/netOffloads``).
  /// What the driver may not set but the device has to ignore, flags that are not for it and `num_buffers`, is ignored.
  ///
  /// - Parameters:
  ///   - frame: The packet behind the header.
  ///   - features: What whoever wrote the header has negotiated; of these the bits of ``Features/netHostOffloads`` count.
  ///   - maxLength: The longest frame in bytes that is not to be segmented (``NetConfiguration/frameLength``).
  package init(_ header: NetHeader, frame: Span<UInt8>, features: Features, maxLength: Int = .max) {
    let needsChecksum = header.flags & NetHeader.needsChecksum != 0
    let start = Int(header.checksumStart)
    let offset = Int(header.checksumOffset)
    if header.gsoType == NetHeader.gsoNone {
      guard frame.count <= maxLength else {
        self = .invalid(.longerThanMTU)
        return
      }
      guard needsChecksum else {
        self = .none
        return
      }
    }
    if let fault = NetOffload.requestFault(header, features) {
      self = .invalid(fault)
      return
    }
    guard start &+ offset &+ 2 <= frame.count else {
      self = .invalid(.checksumOutside)
      return
    }
    guard header.gsoType != NetHeader.gsoNone else {
      self = .checksum(start: start, offset: offset)
      return
    }
    switch TCPHeaders.walk(frame, isIPv6: header.gsoType & ~NetHeader.gsoECN == NetHeader.gsoTCPv6) {
    case .fault(let fault): self = .invalid(fault)
    case .found(let headers):
      guard start == headers.transport, offset == TCPSegmentation.checksumOffset else {
        self = .invalid(.checksumMisplaced)
        return
      }
      let hasECN =
        header.gsoType & NetHeader.gsoECN != 0 || TCPSegmentation.reducesWindow(frame, transport: headers.transport)
      self = .segmentation(TCPSegmentation(headers: headers, size: Int(header.gsoSize), hasECN: hasECN))
    }
  }

  /// What is wrong with a header that asks for something, whatever the packet is.
  private static func requestFault(_ header: NetHeader, _ features: Features) -> NetHeaderFault? {
    guard header.gsoType != NetHeader.gsoNone else {
      return features.contains(.netChecksum) ? nil : .checksumNotNegotiated
    }
    var needed: Features = header.gsoType & NetHeader.gsoECN != 0 ? .netHostECN : []
    switch header.gsoType & ~NetHeader.gsoECN {
    case NetHeader.gsoTCPv4: needed.insert(.netHostTSO4)
    case NetHeader.gsoTCPv6: needed.insert(.netHostTSO6)
    case NetHeader.gsoUDP, NetHeader.gsoUDPL4: return .segmentationNotNegotiated
    default: return .segmentationUnknown
    }
    guard features.contains(needed) else { return .segmentationNotNegotiated }
    guard header.flags & NetHeader.needsChecksum != 0 else { return .segmentationWithoutChecksum }
    guard features.contains(.netChecksum) else { return .checksumNotNegotiated }
    return header.gsoSize == 0 ? .segmentSizeZero : nil
  }
}
