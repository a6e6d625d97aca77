/// An error of the software datapath.
public struct DatapathError: Error, Sendable, CustomStringConvertible {
  /// What kind of error it is. More kinds may come.
  public struct Code: RawRepresentable, Sendable, Hashable {
    /// The kind's name.
    public let rawValue: String
    /// The kind with that name.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// A setting cannot be used.
    public static let badConfiguration = Code(rawValue: "badConfiguration")
    /// A device of that virtio type is not served.
    public static let unsupportedType = Code(rawValue: "unsupportedType")
    /// A vring cannot be served as described.
    public static let badVring = Code(rawValue: "badVring")
    /// A file cannot be the medium of a block device.
    public static let badFile = Code(rawValue: "badFile")
    /// A worker did not leave a queue in time.
    public static let stuck = Code(rawValue: "stuck")
    /// What is wanted belongs to somebody else at the time.
    public static let inUse = Code(rawValue: "inUse")
    /// There is nothing of that name or number.
    public static let notFound = Code(rawValue: "notFound")
    /// The system refused a thread or a descriptor.
    public static let system = Code(rawValue: "system")
  }

  /// What kind of error it is.
  public let code: Code
  /// What failed, on which object, why, and what to do.
  public let message: String

  /// An error of that kind.
  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// The message.
  public var description: String { message }
}
