/// Integers in network byte order, and copies. What is marked unsafe takes bytes for integers and the other way round,
/// which any bytes and any integers stand; the spans check their bounds.
extension Span<UInt8> {
  @inline(__always) func word(_ offset: Int) -> UInt16 {
    UInt16(bigEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  @inline(__always) func longWord(_ offset: Int) -> UInt32 {
    UInt32(bigEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
}

extension MutableSpan<UInt8> {
  @inline(__always) mutating func store(_ value: UInt16, at offset: Int) {
    var raw = unsafe mutableBytes
    raw.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
  }

  @inline(__always) mutating func store(_ value: UInt32, at offset: Int) {
    var raw = unsafe mutableBytes
    raw.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
  }

  /// Copies a part of another span to `offset`; a trap if either is too short.
  package mutating func copy(_ range: Range<Int>, of source: Span<UInt8>, to offset: Int) {
    precondition(range.lowerBound >= 0 && range.upperBound <= source.count)
    precondition(offset >= 0 && offset <= count && range.count <= count - offset)
    // Both ranges have just been checked; the spans cannot overlap, for this one is borrowed exclusively.
    unsafe source.withUnsafeBytes { from in
      unsafe withUnsafeMutableBytes { to in
        guard let to = to.baseAddress, let from = from.baseAddress else { return }
        unsafe (to + offset).copyMemory(from: from + range.lowerBound, byteCount: range.count)
      }
    }
  }
}
