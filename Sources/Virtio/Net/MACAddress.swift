/// An Ethernet address.
public struct MACAddress: Sendable, Hashable, CustomStringConvertible {
  /// The six bytes in transmission order.
  public let bytes: [UInt8]

  /// The address of those bytes.
  ///
  /// - Parameter bytes: Exactly six.
  /// - Returns: nil for any other count.
  public init?(bytes: [UInt8]) {
    guard bytes.count == 6 else { return nil }
    self.bytes = bytes
  }

  /// The address written as six pairs of hexadecimal digits with colons: `52:54:00:12:34:56`.
  ///
  /// - Returns: nil when the text is anything else.
  public init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    // The digits are checked because the integer's initialiser takes a sign.
    let bytes = parts.compactMap { $0.count == 2 && $0.allSatisfy(\.isHexDigit) ? UInt8($0, radix: 16) : nil }
    guard parts.count == 6, bytes.count == 6 else { return nil }
    self.bytes = bytes
  }

  /// All zero: no address.
  public static let zero = MACAddress(low: 0, high: 0)

  private init(low: UInt32, high: UInt16) {
    bytes =
      (0..<4).map { UInt8(truncatingIfNeeded: low >> (8 * $0)) }
      + (0..<2).map { UInt8(truncatingIfNeeded: high >> (8 * $0)) }
  }

  /// `52:54:00:12:34:56`.
  public var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
  }
}
