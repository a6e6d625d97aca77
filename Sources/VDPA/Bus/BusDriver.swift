/// The name of something that takes devices off the bus and makes use of them, as in the Linux kernel's vDPA bus.
///
/// A device has one bus driver at a time. Applications may have bus drivers of their own, by any other name.
public struct BusDriver: RawRepresentable, Sendable, Hashable, CustomStringConvertible, ExpressibleByStringLiteral {
  /// The name.
  public let rawValue: String
  /// The bus driver with that name.
  public init(rawValue: String) { self.rawValue = rawValue }
  /// The bus driver with that name.
  public init(stringLiteral name: String) { rawValue = name }

  /// Offers a device to a VM or a container over a vhost-user socket.
  public static let vhostUser: BusDriver = "vhostUser"
  /// Has this process drive a device itself (``VirtioDriver``).
  public static let virtio: BusDriver = "virtio"
  /// An application that claims a device without saying what for.
  public static let application: BusDriver = "application"

  /// The name.
  public var description: String { rawValue }
}
