/// What kind of virtio device it is (virtio 1.2, §5).
public struct DeviceType: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
  /// The virtio device id.
  public let rawValue: UInt32

  /// The type with that virtio device id.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Network device (1).
  public static let net = DeviceType(rawValue: 1)
  /// Block device (2).
  public static let block = DeviceType(rawValue: 2)

  /// Entropy device (4).
  public static let entropy = DeviceType(rawValue: 4)

  /// The lower-case name used on command lines, `virtio device n` for a type that has none here.
  public var description: String {
    switch self {
    case .net: "net"
    case .block: "block"
    case .entropy: "rng"
    default: "virtio device \(rawValue)"
    }
  }

  /// How many rings make one queue as its users count them: a net queue is a pair of rings, others are one ring.
  public var ringsPerQueue: Int { self == .net ? 2 : 1 }
}
