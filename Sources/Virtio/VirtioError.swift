public import SystemPackage

/// An error of guest memory or of a ring.
public struct VirtioError: Error, Sendable, CustomStringConvertible {
  /// What kind of error it is. More kinds may come.
  public struct Code: RawRepresentable, Sendable, Hashable {
    /// The kind's name.
    public let rawValue: String
    /// The kind with that name.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// Addresses or sizes of a memory region overflow or are zero.
    public static let regionOutOfRange = Code(rawValue: "regionOutOfRange")
    /// Two memory regions overlap.
    public static let regionsOverlap = Code(rawValue: "regionsOverlap")
    /// There are more memory regions than a snapshot holds.
    public static let tooManyRegions = Code(rawValue: "tooManyRegions")
    /// A memory region that is not there was named.
    public static let noSuchRegion = Code(rawValue: "noSuchRegion")
    /// A translation does not lead from a page to a page.
    public static let misalignedTranslation = Code(rawValue: "misalignedTranslation")
    /// A memory file is too small for its region.
    public static let fileTooSmall = Code(rawValue: "fileTooSmall")
    /// A memory file is of a kind that may block or fail under the process.
    public static let wrongFileSystem = Code(rawValue: "wrongFileSystem")
    /// Memory, or a memory file, could not be mapped.
    public static let mappingFailed = Code(rawValue: "mappingFailed")
    /// There are more mappings of memory files than a process can guard (``BusErrorGuard``).
    public static let tooManyMappings = Code(rawValue: "tooManyMappings")
    /// A ring's size is not one that the standard allows.
    public static let badRingSize = Code(rawValue: "badRingSize")
    /// A part of a ring is misaligned or not inside one memory region.
    public static let badRingAddress = Code(rawValue: "badRingAddress")
    /// A record of requests in flight has no room for its ring, or holds what no back-end writes.
    public static let badInflightRecord = Code(rawValue: "badInflightRecord")
    /// A packet pool cannot have that many buffers, or of that size.
    public static let badPacketPool = Code(rawValue: "badPacketPool")
  }

  /// What kind of error it is.
  public let code: Code
  /// What failed, on which object, and what to do.
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
