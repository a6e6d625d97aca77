/// Takes integers of the host's byte order off a bounded run of bytes (vhost-user, Message Specification: both sides
/// run on one host).
package struct WireReader {
  private let bytes: [UInt8]
  private var offset = 0

  package init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// Bytes not yet taken.
  package var remaining: Int { bytes.count - offset }

  package mutating func u8() throws(VhostUserError) -> UInt8 { try integer() }

  package mutating func u16() throws(VhostUserError) -> UInt16 { try integer() }

  package mutating func u32() throws(VhostUserError) -> UInt32 { try integer() }

  package mutating func u64() throws(VhostUserError) -> UInt64 { try integer() }

  /// Takes `count` bytes as they are.
  package mutating func raw(_ count: Int) throws(VhostUserError) -> [UInt8] {
    guard count >= 0, count <= remaining else {
      throw VhostUserError(.malformed, "the payload ends \(count - remaining) bytes early")
    }
    defer { offset += count }
    return Array(bytes[offset..<offset + count])
  }

  /// Passes over padding. Its content means nothing: not every front-end clears it.
  package mutating func skip(_ count: Int) throws(VhostUserError) {
    _ = try raw(count)
  }

  /// Refuses bytes that are left over.
  package func finish() throws(VhostUserError) {
    guard remaining == 0 else {
      throw VhostUserError(.malformed, "the payload has \(remaining) bytes too many")
    }
  }

  private mutating func integer<T: FixedWidthInteger & UnsignedInteger>() throws(VhostUserError) -> T {
    let field = try raw(T.bitWidth / 8)
    return T(littleEndian: field.reversed().reduce(0) { $0 << 8 | T($1) })
  }
}
