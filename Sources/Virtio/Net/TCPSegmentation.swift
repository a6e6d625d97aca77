/// A large TCP packet that is to be cut into segments: checked, and able to write any of them.
///
/// A value holds no bytes and no position, so that whoever ran out of room goes on with the next segment at any time.
package struct TCPSegmentation: Sendable, Hashable {
  /// Where the packet's headers are.
  package let headers: TCPHeaders
  /// The most payload of a segment in bytes, at least 1.
  package let size: Int
  /// Whether the congestion window reduced flag is, or is said to be, set.
  package let hasECN: Bool

  /// Where the checksum stands in a TCP header (RFC 9293, §3.1).
  package static let checksumOffset = 16
  private static let flagsOffset = 13
  /// The flags that only the last segment has: FIN and PSH.
  private static let lastFlags: UInt8 = 0x01 | 0x08
  /// The flag that only the first segment has: CWR (RFC 3168, §6.1.2).
  private static let firstFlags: UInt8 = 0x80

  init(headers: TCPHeaders, size: Int, hasECN: Bool) {
    self.headers = headers
    self.size = size
    self.hasECN = hasECN
  }

  /// Whether the congestion window reduced flag of a TCP header is set.
  static func reducesWindow(_ frame: Span<UInt8>, transport: Int) -> Bool {
    frame[transport &+ flagsOffset] & firstFlags != 0
  }

  /// How many segments it makes: at least 1, for a packet without payload is one too.
  package var count: Int { max((headers.end &- headers.payload &+ size &- 1) / size, 1) }

  /// The length of a segment's frame in bytes.
  package func length(of segment: Int) -> Int { headers.payload &+ payload(of: segment).count }

  /// The same packet in segments whose frames have at most `maxLength` bytes; nil if headers alone are as long.
  package func limited(to maxLength: Int) -> TCPSegmentation? {
    guard maxLength > headers.payload else { return nil }
    return TCPSegmentation(headers: headers, size: min(size, maxLength - headers.payload), hasECN: hasECN)
  }

  /// The header that hands the packet on as it is.
  package var header: NetHeader {
    NetHeader(
      flags: NetHeader.needsChecksum,
      gsoType: (headers.isIPv6 ? NetHeader.gsoTCPv6 : NetHeader.gsoTCPv4) | (hasECN ? NetHeader.gsoECN : 0),
      headerLength: UInt16(headers.payload), gsoSize: UInt16(size), checksumStart: UInt16(headers.transport),
      checksumOffset: UInt16(TCPSegmentation.checksumOffset))
  }

  private func payload(of segment: Int) -> Range<Int> {
    precondition(segment >= 0 && segment < count)
    let start = headers.payload &+ segment &* size
    return start..<min(start &+ size, headers.end)
  }

  /// Writes one segment with complete checksums.
  ///
  /// - Parameters:
  ///   - packet: The frame that this value was made from, unchanged.
  ///   - frame: Exactly ``length(of:)`` bytes.
  package func write(_ segment: Int, of packet: Span<UInt8>, into frame: inout MutableSpan<UInt8>) {
    let payload = payload(of: segment)
    precondition(frame.count == headers.payload + payload.count)
    frame.copy(0..<headers.payload, of: packet, to: 0)
    frame.copy(payload, of: packet, to: headers.payload)
    writeNetwork(segment, of: packet, into: &frame)
    writeTransport(segment, of: packet, into: &frame)
  }

  /// Lengths, and what IPv4 has beside them: an identification for each packet (RFC 6864), and a checksum.
  private func writeNetwork(_ segment: Int, of packet: Span<UInt8>, into frame: inout MutableSpan<UInt8>) {
    let network = headers.network
    guard !headers.isIPv6 else {
      frame.store(UInt16(frame.count &- network &- 40), at: network &+ 4)
      return
    }
    frame.store(UInt16(frame.count &- network), at: network &+ 2)
    frame.store(packet.word(network &+ 4) &+ UInt16(truncatingIfNeeded: segment), at: network &+ 4)
    frame.store(0 as UInt16, at: network &+ 10)
    var sum = InternetChecksum()
    sum.add(frame.span, network..<network &+ Int(frame[network] & 0x0f) &* 4)
    frame.store(sum.checksum, at: network &+ 10)
  }

  private func writeTransport(_ segment: Int, of packet: Span<UInt8>, into frame: inout MutableSpan<UInt8>) {
    let transport = headers.transport
    let skipped = UInt32(truncatingIfNeeded: segment &* size)
    frame.store(packet.longWord(transport &+ 4) &+ skipped, at: transport &+ 4)
    var flags = frame[transport &+ TCPSegmentation.flagsOffset]
    if segment != 0 { flags &= ~TCPSegmentation.firstFlags }
    if segment != count &- 1 { flags &= ~TCPSegmentation.lastFlags }
    frame[transport &+ TCPSegmentation.flagsOffset] = flags
    // The field has the sum of the pseudo header with the length of the whole: the segment's takes its place. So the
    // addresses, which a routing header may change, need not be known.
    var sum = InternetChecksum()
    sum.add(frame.span, transport..<frame.count)
    sum.subtract(UInt16(headers.end &- transport))
    sum.add(UInt16(frame.count &- transport))
    frame.store(sum.checksum, at: transport &+ TCPSegmentation.checksumOffset)
  }
}
