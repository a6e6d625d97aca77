/// A TCP packet in an Ethernet frame as a guest writes it: with the sum of the pseudo header for a checksum. Built field
/// by field, and taken apart again, without the code under test.
package struct TCPFrame: Sendable, Equatable {
  /// The flags that segmentation treats in a way of their own, with ACK, which it does not.
  package static let fin: UInt8 = 0x01
  package static let psh: UInt8 = 0x08
  package static let ack: UInt8 = 0x10
  package static let cwr: UInt8 = 0x80

  package var isIPv6 = false
  /// How many VLAN tags.
  package var tags = 0
  /// Options of IPv4: a multiple of four bytes.
  package var ipOptions: [UInt8] = []
  /// Extension headers of IPv6, by their number, each with its body of 6 bytes and a multiple of eight.
  package var extensions: [(next: UInt8, body: [UInt8])] = []
  package var identification = 0x1234
  /// Options of TCP: a multiple of four bytes.
  package var tcpOptions: [UInt8] = []
  package var flags = TCPFrame.ack
  package var sequence: UInt32 = 0xffff_ff00
  package var payload: [UInt8] = []

  package init(isIPv6: Bool = false, tags: Int = 0, payload: Int = 0, flags: UInt8 = TCPFrame.ack) {
    self.isIPv6 = isIPv6
    self.tags = tags
    self.flags = flags
    self.payload = (0..<payload).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
  }

  package static func == (a: TCPFrame, b: TCPFrame) -> Bool { a.bytes == b.bytes }

  /// Where the IP header starts.
  package var network: Int { 14 + 4 * tags }
  /// Where the TCP header starts.
  package var transport: Int {
    network + (isIPv6 ? 40 + extensions.reduce(0) { $0 + 2 + $1.body.count } : 20 + ipOptions.count)
  }
  /// The length of all headers in bytes.
  package var headerLength: Int { transport + 20 + tcpOptions.count }

  private static let addresses4: [UInt8] = [10, 0, 0, 1, 192, 168, 255, 254]
  private static let addresses6: [UInt8] =
    [0xfe, 0x80] + Array(repeating: 0, count: 13) + [1, 0x20, 1, 0x0d, 0xb8] + Array(repeating: 0xab, count: 12)
  private var addresses: [UInt8] { isIPv6 ? TCPFrame.addresses6 : TCPFrame.addresses4 }

  private var ethernet: [UInt8] {
    var bytes: [UInt8] = [0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2]
    for tag in 0..<tags { bytes += (tag == 0 && tags > 1 ? [0x88, 0xa8] : [0x81, 0x00]) + [0, UInt8(5 + tag)] }
    return bytes + (isIPv6 ? [0x86, 0xdd] : [0x08, 0x00])
  }

  private func ip(length: Int) -> [UInt8] {
    if isIPv6 {
      var bytes: [UInt8] =
        [0x60, 0x12, 0x34, 0x56] + PlainChecksum.word(length - 40) + [extensions.first?.next ?? 6, 64] + addresses
      for (i, header) in extensions.enumerated() {
        bytes += [i + 1 < extensions.count ? extensions[i + 1].next : 6, UInt8((header.body.count + 2) / 8 - 1)]
        bytes += header.body
      }
      return bytes
    }
    var bytes: [UInt8] =
      [0x45 + UInt8(ipOptions.count / 4), 0] + PlainChecksum.word(length) + PlainChecksum.word(identification)
      + [0x40, 0, 64, 6, 0, 0] + addresses + ipOptions
    bytes.replaceSubrange(10..<12, with: PlainChecksum.word(Int(~PlainChecksum.sum(bytes))))
    return bytes
  }

  private var tcp: [UInt8] {
    let first: [UInt8] = [0x01, 0xbb, 0xc7, 0x38] + PlainChecksum.word(Int(sequence >> 16))
    return first + PlainChecksum.word(Int(sequence & 0xffff))
      + [1, 2, 3, 4, UInt8((20 + tcpOptions.count) / 4) << 4, flags, 0x12, 0x34] + [0, 0, 0, 0] + tcpOptions
  }

  /// The frame with the sum of the pseudo header in the place of the checksum.
  package var bytes: [UInt8] {
    var segment = tcp + payload
    segment.replaceSubrange(
      16..<18,
      with: PlainChecksum.word(Int(PlainChecksum.pseudoHeader(addresses, next: 6, length: segment.count))))
    return ethernet + ip(length: transport - network + segment.count) + segment
  }

  /// The frame with its checksum.
  package var complete: [UInt8] {
    var frame = bytes
    frame.replaceSubrange(
      transport + 16..<transport + 18, with: PlainChecksum.word(Int(~PlainChecksum.sum(frame[transport...]))))
    return frame
  }

  /// The segments that the packet makes, as RFC 9293, RFC 3168 and RFC 6864 want them, each complete.
  package func segments(of size: Int) -> [[UInt8]] {
    let count = max((payload.count + size - 1) / size, 1)
    return (0..<count).map { i in
      var segment = self
      segment.payload = Array(payload[min(i * size, payload.count)..<min((i + 1) * size, payload.count)])
      segment.sequence = sequence &+ UInt32(i * size)
      segment.identification = (identification + i) & 0xffff
      if i > 0 { segment.flags &= ~TCPFrame.cwr }
      if i < count - 1 { segment.flags &= ~(TCPFrame.fin | TCPFrame.psh) }
      return segment.complete
    }
  }
}
