/// How a block request ended: its last byte, which the device writes (virtio 1.2, §5.2.6).
public struct BlockStatus: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
  /// The byte on the wire.
  public let rawValue: UInt8
  /// The status with that byte.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// `VIRTIO_BLK_S_OK` (0): done.
  public static let ok = BlockStatus(rawValue: 0)
  /// `VIRTIO_BLK_S_IOERR` (1): the device, or the driver, is at fault.
  public static let ioError = BlockStatus(rawValue: 1)
  /// `VIRTIO_BLK_S_UNSUPP` (2): the device does not do this.
  public static let unsupported = BlockStatus(rawValue: 2)

  /// `OK`, `IOERR`, `UNSUPP`, or the number.
  public var description: String {
    switch self {
    case .ok: "OK"
    case .ioError: "IOERR"
    case .unsupported: "UNSUPP"
    default: "status \(rawValue)"
    }
  }
}
