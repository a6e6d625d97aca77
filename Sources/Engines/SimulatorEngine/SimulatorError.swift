public import SystemPackage

/// An error of a simulator engine or of one of its devices.
public struct SimulatorError: Error, Sendable, CustomStringConvertible {
  /// What kind of error it is. More kinds may come.
  public struct Code: RawRepresentable, Sendable, Hashable {
    /// The kind's name.
    public let rawValue: String
    /// The kind with that name.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The address of a simulator engine is not `virtual`.
    public static let badAddress = Code(rawValue: "badAddress")
    /// A parameter has a value that the simulator does not have.
    public static let badParameter = Code(rawValue: "badParameter")
    /// The system has no thread or descriptor left for a device.
    public static let noResources = Code(rawValue: "noResources")
    /// The device's thread has been ended with its engine.
    public static let stopped = Code(rawValue: "stopped")
    /// The device's thread did not answer in time.
    public static let deadlineMissed = Code(rawValue: "deadlineMissed")
    /// An operation came in a state in which it means nothing.
    public static let outOfState = Code(rawValue: "outOfState")
    /// A vring has an index, a size, addresses or descriptors that the device cannot serve.
    public static let badVring = Code(rawValue: "badVring")
    /// Features were accepted that the device does not offer.
    public static let badFeatures = Code(rawValue: "badFeatures")
    /// The operation was told to fail.
    public static let injected = Code(rawValue: "injected")
    /// The device has vanished.
    public static let vanished = Code(rawValue: "vanished")
    /// The device was told not to stop.
    public static let refusedToStop = Code(rawValue: "refusedToStop")
    /// The file of a block device cannot be used.
    public static let badFile = Code(rawValue: "badFile")
    /// A range of addresses overlaps with another one in the DMA map.
    public static let rangeOverlaps = Code(rawValue: "rangeOverlaps")
    /// A range of addresses is not in the DMA map as it was named.
    public static let noSuchRange = Code(rawValue: "noSuchRange")
    /// A range of addresses does not consist of whole pages.
    public static let rangeNotAligned = Code(rawValue: "rangeNotAligned")
  }

  /// What kind of error it is.
  public let code: Code
  /// What failed, on which object, why, and what to do.
  public let message: String
  /// The system's reason, if there is one.
  public let underlying: Errno?

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
