/// An Ethernet frame that says which one it is: queue pair, number, time of sending, and a content that follows from pair and
/// number, so that any change to it can be seen.
///
/// The frame has the EtherType for local experiments (0x88B5, IEEE 802) and locally administered addresses. Behind them are
/// 30 bytes, little-endian: pair (2), number (8), time (8), length of the frame (4), and a check of these (8); the rest is
/// content.
public struct NumberedPacket: Hashable, Sendable {
  /// The shortest frame in bytes: Ethernet's.
  public static let minimumLength = 60
  private static let addresses: [UInt8] = [0x02, 0x76, 0x64, 0x70, 0x61, 0x02, 0x02, 0x76, 0x64, 0x70, 0x61, 0x01]
  private static let contentOffset = 44

  /// The queue pair that it was sent on.
  public var pair: UInt16
  /// Its number on that pair, from 0.
  public var number: UInt64
  /// When it was sent: nanoseconds of CLOCK_MONOTONIC.
  public var time: UInt64
  /// Bytes of the frame, at least ``minimumLength``.
  public var length: Int

  /// A packet.
  public init(pair: UInt16, number: UInt64, time: UInt64, length: Int) {
    precondition(length >= NumberedPacket.minimumLength && length <= Int(UInt32.max))
    self.pair = pair
    self.number = number
    self.time = time
    self.length = length
  }

  // MARK: Bytes

  /// The frame.
  public var encoded: [UInt8] {
    // Content is written in whole words.
    var bytes = [UInt8](repeating: 0, count: length + 7)
    bytes.replaceSubrange(0..<12, with: NumberedPacket.addresses)
    (bytes[12], bytes[13]) = (0x88, 0xb5)
    do {
      var span = bytes.mutableSpan
      // Any bytes make an integer, and the span checks its bounds; so below.
      var raw = unsafe span.mutableBytes
      raw.storeBytes(of: pair.littleEndian, toByteOffset: 14, as: UInt16.self)
      raw.storeBytes(of: number.littleEndian, toByteOffset: 16, as: UInt64.self)
      raw.storeBytes(of: time.littleEndian, toByteOffset: 24, as: UInt64.self)
      raw.storeBytes(of: UInt32(length).littleEndian, toByteOffset: 32, as: UInt32.self)
      raw.storeBytes(of: check.littleEndian, toByteOffset: 36, as: UInt64.self)
      var content = content
      for offset in stride(from: NumberedPacket.contentOffset, to: length, by: 8) {
        raw.storeBytes(of: content.next().littleEndian, toByteOffset: offset, as: UInt64.self)
      }
    }
    bytes.removeLast(7)
    return bytes
  }

  /// What a frame is.
  public enum Decoded: Hashable, Sendable {
    /// The packet as it was sent.
    case intact(NumberedPacket)
    /// This packet, but its addresses, its length or its content are not what was sent.
    case damaged(NumberedPacket)
    /// No such packet, or one of which not even the number can be trusted.
    case unknown
  }

  /// Looks at a frame.
  public static func decode(_ bytes: [UInt8]) -> Decoded {
    guard bytes.count >= contentOffset else { return .unknown }
    let raw = unsafe bytes.span.bytes
    func load<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as type: T.Type) -> T {
      T(littleEndian: unsafe raw.unsafeLoadUnaligned(fromByteOffset: offset, as: type))
    }
    let length = Int(load(32, as: UInt32.self))
    guard length >= minimumLength else { return .unknown }
    let packet = NumberedPacket(
      pair: load(14, as: UInt16.self), number: load(16, as: UInt64.self), time: load(24, as: UInt64.self),
      length: length)
    guard load(36, as: UInt64.self) == packet.check else { return .unknown }
    guard bytes.count == length, bytes[0..<12] == addresses[...], bytes[12] == 0x88, bytes[13] == 0xb5 else {
      return .damaged(packet)
    }
    var content = packet.content
    for offset in stride(from: contentOffset, to: length, by: 8) {
      let wanted = content.next()
      if offset + 8 <= length {
        guard load(offset, as: UInt64.self) == wanted else { return .damaged(packet) }
      } else {
        for i in offset..<length where bytes[i] != UInt8(truncatingIfNeeded: wanted >> UInt64(8 * (i - offset))) {
          return .damaged(packet)
        }
      }
    }
    return .intact(packet)
  }

  // MARK: Content

  /// SplitMix64 (Steele, Lea and Flood 2014).
  private struct Words {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9e37_79b9_7f4a_7c15
      var z = state
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      return z ^ (z >> 31)
    }
  }

  private var content: Words {
    var seed = Words(state: number)
    return Words(state: seed.next() ^ UInt64(pair))
  }

  private var check: UInt64 {
    [number, time, UInt64(length)].reduce(UInt64(pair)) { sum, value in
      var words = Words(state: sum ^ value)
      return words.next()
    }
  }
}
