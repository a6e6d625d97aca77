/// Where the headers of a TCP packet lie in an Ethernet frame, found by walking them: what a guest says about their
/// lengths in a ``NetHeader`` is not relied on (virtio 1.2, §5.1.6.2.2).
package struct TCPHeaders: Sendable, Hashable {
  /// Where the IP header starts.
  package let network: Int
  /// Where the TCP header starts.
  package let transport: Int
  /// Where the payload starts: the length of all headers in bytes.
  package let payload: Int
  /// Where the IP packet ends; behind it there may be padding.
  package let end: Int
  /// IPv6, else IPv4.
  package let isIPv6: Bool

  /// Tags in front of the EtherType: 802.1Q in 802.1ad.
  package static let maxTags = 2
  /// How many extension headers of IPv6 are walked; RFC 8200, §4.1 knows no packet with more than four of these.
  static let maxExtensions = 8

  /// What a walk has come to.
  enum Walk {
    case found(TCPHeaders)
    case fault(NetHeaderFault)
  }

  /// Walks the headers of a frame.
  ///
  /// - Parameter isIPv6: The version that it has to be.
  static func walk(_ frame: Span<UInt8>, isIPv6: Bool) -> Walk {
    let count = frame.count
    // IEEE 802.3, 802.1Q.
    var network = 14
    guard count >= network else { return .fault(.headerLength) }
    var etherType = frame.word(12)
    var tags = 0
    while etherType == 0x8100 || etherType == 0x88a8 {
      guard tags < maxTags else { return .fault(.notTCP) }
      guard count >= network &+ 4 else { return .fault(.headerLength) }
      etherType = frame.word(network &+ 2)
      network &+= 4
      tags &+= 1
    }
    guard etherType == (isIPv6 ? 0x86dd : 0x0800) else { return .fault(.notTCP) }
    return isIPv6 ? walkIPv6(frame, network) : walkIPv4(frame, network)
  }

  /// RFC 791, §3.1.
  private static func walkIPv4(_ frame: Span<UInt8>, _ network: Int) -> Walk {
    guard frame.count >= network &+ 20 else { return .fault(.headerLength) }
    let first = frame[network]
    // A fragment has no TCP header of its own, and what comes out of it could not be put together.
    guard first >> 4 == 4, frame[network &+ 9] == 6, frame.word(network &+ 6) & 0x3fff == 0 else {
      return .fault(.notTCP)
    }
    let headerLength = Int(first & 0x0f) &* 4
    guard headerLength >= 20 else { return .fault(.headerLength) }
    return walkTCP(
      frame, network, transport: network &+ headerLength, end: network &+ Int(frame.word(network &+ 2)), isIPv6: false)
  }

  /// RFC 8200, §3 and §4.
  private static func walkIPv6(_ frame: Span<UInt8>, _ network: Int) -> Walk {
    guard frame.count >= network &+ 40 else { return .fault(.headerLength) }
    guard frame[network] >> 4 == 6 else { return .fault(.notTCP) }
    let end = network &+ 40 &+ Int(frame.word(network &+ 4))
    guard end <= frame.count else { return .fault(.headerLength) }
    var next = frame[network &+ 6]
    var offset = network &+ 40
    var extensions = 0
    // Hop-by-hop options, routing, destination options: those that stand in every segment as they are.
    while next == 0 || next == 43 || next == 60 {
      guard extensions < maxExtensions else { return .fault(.notTCP) }
      guard offset &+ 8 <= end else { return .fault(.headerLength) }
      next = frame[offset]
      offset &+= (Int(frame[offset &+ 1]) &+ 1) &* 8
      extensions &+= 1
    }
    guard next == 6 else { return .fault(.notTCP) }
    return walkTCP(frame, network, transport: offset, end: end, isIPv6: true)
  }

  /// RFC 9293, §3.1.
  private static func walkTCP(
    _ frame: Span<UInt8>, _ network: Int, transport: Int, end: Int, isIPv6: Bool
  ) -> Walk {
    guard end <= frame.count, transport &+ 20 <= end else { return .fault(.headerLength) }
    let headerLength = Int(frame[transport &+ 12] >> 4) &* 4
    guard headerLength >= 20, transport &+ headerLength <= end else { return .fault(.headerLength) }
    return .found(
      TCPHeaders(
        network: network, transport: transport, payload: transport &+ headerLength, end: end, isIPv6: isIPv6))
  }
}
