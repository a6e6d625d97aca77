public import SystemPackage

/// Why a scan could not be done, or a part of it.
public struct DiscoveryError: Error, Hashable, Sendable {
  /// What kind of failure it is. More may be added.
  public struct Code: Hashable, Sendable {
    private let name: String

    /// The sysfs tree that was named is none, or an entry of it could not be read.
    public static let sysfs = Code(name: "sysfs")
    /// libpci could not list the functions, or not read one.
    public static let pci = Code(name: "pci")
    /// libudev could not list the devices.
    public static let udev = Code(name: "udev")
    /// The recording is none, or cannot be read.
    public static let recording = Code(name: "recording")
  }

  /// What kind of failure it is.
  public let code: Code
  /// The object it happened to: a path, the address of a function.
  public let subject: String
  /// What happened and what can be done about it, in words.
  public let reason: String
  /// The error of the system call, if one failed.
  public let underlyingError: Errno?

  /// Makes an error about `subject`.
  public init(_ code: Code, _ subject: String, _ reason: String, underlyingError: Errno? = nil) {
    self.code = code
    self.subject = subject
    self.reason = reason
    self.underlyingError = underlyingError
  }
}

extension DiscoveryError: CustomStringConvertible {
  /// The subject, what happened to it, and the system's error.
  public var description: String {
    if let underlyingError { "\(subject): \(reason): \(underlyingError)" } else { "\(subject): \(reason)" }
  }
}
