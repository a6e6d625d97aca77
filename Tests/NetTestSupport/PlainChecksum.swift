/// RFC 1071, one byte after the other: what checksums are compared with.
package enum PlainChecksum {
  /// The ones' complement sum of bytes, an odd count filled up with 0.
  package static func sum(_ bytes: some Collection<UInt8>) -> UInt16 {
    var sum = 0
    for (i, byte) in bytes.enumerated() {
      sum += i % 2 == 0 ? Int(byte) << 8 : Int(byte)
      if sum > 0xffff { sum = sum & 0xffff + 1 }
    }
    return UInt16(sum)
  }

  /// The sum of the pseudo header of a packet (RFC 9293, §3.1; RFC 8200, §8.1).
  ///
  /// - Parameters:
  ///   - addresses: Both addresses.
  ///   - length: That of the transport header and what follows it.
  package static func pseudoHeader(_ addresses: some Collection<UInt8>, next: UInt8, length: Int) -> UInt16 {
    sum(Array(addresses) + [UInt8(length >> 24 & 0xff), UInt8(length >> 16 & 0xff)] + word(length) + [0, 0, 0, next])
  }

  /// A number in network byte order.
  package static func word(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xff), UInt8(value & 0xff)] }
}
