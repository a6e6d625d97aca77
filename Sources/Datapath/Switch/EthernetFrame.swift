/// What a switch looks at in a frame.
enum EthernetFrame {
  /// Two addresses and the type, in bytes.
  static let headerLength = 14

  /// Eight bytes in memory order. A trap if they are not inside of the frame.
  @inline(__always) static func word(_ frame: Span<UInt8>, _ offset: Int) -> UInt64 {
    // Any bytes make an integer, and the span checks its bounds; so below.
    UInt64(littleEndian: unsafe frame.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  @inline(__always) private static func longWord(_ frame: Span<UInt8>, _ offset: Int) -> UInt64 {
    UInt64(UInt32(littleEndian: unsafe frame.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self)))
  }

  /// A number that all frames of a flow have in common: made of the Ethernet addresses, of those of IP if there are any, and
  /// of the ports of TCP and UDP if the packet is not a fragment.
  static func flow(_ frame: Span<UInt8>) -> UInt32 {
    guard frame.count >= headerLength else { return 0 }
    var hash = mix(word(frame, 0), word(frame, 6) & 0xffff_ffff_ffff)
    let type = UInt16(frame[12]) << 8 | UInt16(frame[13])
    if type == 0x0800, frame.count >= 34 {
      hash = mix(hash, word(frame, 26))
      let ports = 14 + Int(frame[14] & 15) * 4
      let isFragment = frame[20] & 0x3f != 0 || frame[21] != 0
      if !isFragment { hash = flow(frame, hash, ports: ports, next: frame[23]) }
    } else if type == 0x86dd, frame.count >= 54 {
      hash = mix(mix(hash, word(frame, 22)), word(frame, 30))
      hash = mix(mix(hash, word(frame, 38)), word(frame, 46))
      hash = flow(frame, hash, ports: 54, next: frame[20])
    }
    return UInt32(truncatingIfNeeded: hash >> 32)
  }

  private static func flow(_ frame: Span<UInt8>, _ hash: UInt64, ports: Int, next: UInt8) -> UInt64 {
    guard next == 6 || next == 17, ports + 4 <= frame.count else { return hash }
    return mix(hash, longWord(frame, ports))
  }

  @inline(__always) private static func mix(_ hash: UInt64, _ value: UInt64) -> UInt64 {
    let product = (hash ^ value) &* 0x9e37_79b9_7f4a_7c15
    return product ^ product >> 29
  }
}
