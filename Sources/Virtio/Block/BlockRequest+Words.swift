extension BlockRequest {
  /// Sixteen bytes of a request as two little-endian numbers: a header, or a segment.
  struct Words {
    var first: UInt64
    var second: UInt64

    static let byteCount = 16

    init(first: UInt64, second: UInt64) {
      self.first = first
      self.second = second
    }

    /// The sixteen bytes from `offset` on; nil when there are fewer.
    init?(_ bytes: [UInt8], at offset: Int = 0) {
      guard offset >= 0, offset <= bytes.count, bytes.count - offset >= Words.byteCount else { return nil }
      func word(_ start: Int) -> UInt64 {
        bytes[start..<start + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
      }
      self.init(first: word(offset), second: word(offset + 8))
    }

    var bytes: [UInt8] {
      [first, second].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }
  }
}
