/// The ones' complement sum of IP, TCP and UDP (RFC 1071), before it is complemented.
///
/// The sum is kept in the order of the bytes in memory, which a ones' complement sum does not care about (RFC 1071, §2):
/// words are added as they are loaded, eight bytes at a time, and the result is stored as it is.
package struct InternetChecksum: Sendable {
  /// The sum of words in memory order; 2³² of 32 bits do not overflow it.
  private var sum: UInt64 = 0

  /// Nothing added.
  package init() {}

  /// Adds a number as if it stood in the packet in network byte order.
  package mutating func add(_ word: UInt16) { sum &+= UInt64(word.bigEndian) }

  /// Takes a number out again that has been added or is in what has been added.
  package mutating func subtract(_ word: UInt16) { sum &+= UInt64(~word.bigEndian) }

  /// Adds a part of a packet.
  ///
  /// - Parameter range: An odd count is filled up with a zero byte, so that only the last range may have one. A trap if
  ///   it is not inside of `bytes`.
  package mutating func add(_ bytes: Span<UInt8>, _ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
    var offset = range.lowerBound
    var rest = range.count
    let raw = unsafe bytes.bytes
    // Two sums that do not wait for one another. What is loaded is inside of the range that has just been checked.
    var even: UInt64 = 0
    var odd: UInt64 = 0
    while rest >= 32 {
      let a = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
      let b = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: offset &+ 8, as: UInt64.self)
      let c = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: offset &+ 16, as: UInt64.self)
      let d = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: offset &+ 24, as: UInt64.self)
      even &+= (a & 0xffff_ffff) &+ (b & 0xffff_ffff) &+ (c & 0xffff_ffff) &+ (d & 0xffff_ffff)
      odd &+= (a >> 32) &+ (b >> 32) &+ (c >> 32) &+ (d >> 32)
      offset &+= 32
      rest &-= 32
    }
    sum &+= even &+ odd
    while rest >= 2 {
      sum &+= UInt64(unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt16.self))
      offset &+= 2
      rest &-= 2
    }
    if rest > 0 { sum &+= UInt64(UInt16(littleEndian: UInt16(bytes[offset]))) }
  }

  /// The sum as a number: what ``checksum`` is the complement of.
  package var folded: UInt16 {
    var value = (sum & 0xffff_ffff) &+ (sum >> 32)
    for _ in 0..<3 { value = (value & 0xffff) &+ (value >> 16) }
    return UInt16(bigEndian: UInt16(truncatingIfNeeded: value))
  }

  /// The checksum as it is stored in network byte order; 0 over bytes that contain their own checksum.
  package var checksum: UInt16 { ~folded }

  /// Computes the checksum that a sender has left to the device (virtio 1.2, §5.1.6.2), in place.
  ///
  /// - Parameters:
  ///   - start: Where the sum begins; it goes on to the end of the packet, the sum of the pseudo header that stands in
  ///     the field included.
  ///   - offset: Where the field is, from `start`. A trap if it is not inside of the packet.
  package static func complete(_ frame: inout MutableSpan<UInt8>, start: Int, offset: Int) {
    var sum = InternetChecksum()
    sum.add(frame.span, start..<frame.count)
    // 0 says that a UDP datagram has no checksum; the other zero of ones' complement is the same sum (RFC 768).
    frame.store(sum.checksum == 0 ? 0xffff : sum.checksum, at: start + offset)
  }
}
