public import SystemPackage

/// An error of the registry, of an engine or of a device.
public struct VDPAError: Error, Sendable, CustomStringConvertible {
  /// What kind of error it is. More kinds may come.
  public struct Code: RawRepresentable, Sendable, Hashable {
    /// The kind's name.
    public let rawValue: String
    /// The kind with that name.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// An engine driver of that name is registered already.
    public static let driverExists = Code(rawValue: "driverExists")
    /// No engine driver of that name is registered.
    public static let unknownDriver = Code(rawValue: "unknownDriver")
    /// An engine driver cannot go while engines of it run.
    public static let driverInUse = Code(rawValue: "driverInUse")
    /// An engine could not be started.
    public static let engineStartFailed = Code(rawValue: "engineStartFailed")
    /// There is no engine of that id.
    public static let unknownEngine = Code(rawValue: "unknownEngine")
    /// A handle stands for an engine that has been removed.
    public static let staleHandle = Code(rawValue: "staleHandle")
    /// An engine cannot be removed while its devices are claimed.
    public static let engineInUse = Code(rawValue: "engineInUse")
    /// An engine has no device of that id.
    public static let unknownDevice = Code(rawValue: "unknownDevice")
    /// A device is claimed by another bus driver or owner.
    public static let deviceInUse = Code(rawValue: "deviceInUse")
    /// An engine could not hand out a device.
    public static let deviceOpenFailed = Code(rawValue: "deviceOpenFailed")
    /// A device is of another virtio type than asked for.
    public static let wrongDeviceType = Code(rawValue: "wrongDeviceType")
    /// A device operation failed.
    public static let operationFailed = Code(rawValue: "operationFailed")
    /// A device does not have what was asked for: features, queues, ring size, addresses.
    public static let notOffered = Code(rawValue: "notOffered")
    /// A device is set aside for another bus driver (``Registry/setDriverOverride(_:of:)``).
    public static let wrongBusDriver = Code(rawValue: "wrongBusDriver")
    /// A device did in a ring what no device may do.
    public static let deviceFault = Code(rawValue: "deviceFault")
    /// The process or the system has no memory or no descriptor left.
    public static let noResources = Code(rawValue: "noResources")
    /// A device could neither be stopped nor be cut off from memory: it may still use what it had.
    public static let stuck = Code(rawValue: "stuck")
    /// Nobody can say where a ring stands, so nobody can go on with it.
    public static let unrecoverable = Code(rawValue: "unrecoverable")
    /// A parameter is unknown, missing or out of range.
    public static let badParameter = Code(rawValue: "badParameter")
  }

  /// What kind of error it is.
  public let code: Code
  /// What failed, on which object, why, and what to do.
  public let message: String
  /// The system's reason, if there is one.
  public let underlying: Errno?
  /// Where rings stand that a device has served before its operation failed; empty otherwise.
  public internal(set) var states: [VringState] = []

  /// An error of that kind.
  public init(_ code: Code, _ message: String, underlying: Errno? = nil) {
    self.code = code
    self.message = message
    self.underlying = underlying
  }

  /// The message and the system's reason.
  public var description: String {
    underlying.map { "\(message): \($0)" } ?? message
  }
}
