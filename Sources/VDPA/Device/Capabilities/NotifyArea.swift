/// A device with doorbells: writing there is a kick, without any eventfd (vhost-user, Back-end
/// VRING_HOST_NOTIFIER_MSG).
public protocol NotifyArea {
  /// The doorbell of a vring.
  ///
  /// - Parameter index: The vring.
  /// - Returns: nil when this vring has none.
  /// - Throws: Any error; the vring is then kicked by eventfd.
  func doorbell(of index: Int) throws -> Doorbell?
}

/// One page of a file in which a write is a kick.
public struct Doorbell: Sendable {
  /// A file that can be mapped shared, readable and writable.
  public var file: OwnedFD
  /// Where the page begins in the file, in bytes; a multiple of the page size.
  public var offset: UInt64

  /// A doorbell.
  public init(file: OwnedFD, offset: UInt64) {
    self.file = file
    self.offset = offset
  }
}
