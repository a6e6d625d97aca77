/// The configuration space of a device (virtio 1.2, §2.5).
public protocol ConfigurationSpace {
  /// The space as it is now, in the standard's layout for the device type, little-endian.
  var bytes: [UInt8] { get }

  /// Writes a piece of it.
  ///
  /// - Parameters:
  ///   - bytes: What to write.
  ///   - offset: Where, in bytes.
  ///   - isRestoring: Whether a migrated device is restored, fields that a driver may only read included; else the guest's
  ///     driver writes.
  /// - Throws: Any error, when a field cannot be written; then nothing has been.
  func write(_ bytes: [UInt8], at offset: Int, isRestoring: Bool) throws
}

extension ConfigurationSpace {
  /// A space that a driver can only read. One that is restored must be what it is.
  public func write(_ bytes: [UInt8], at offset: Int, isRestoring: Bool) throws {
    let space = self.bytes
    let isSame = offset >= 0 && offset <= space.count && space[offset...].starts(with: bytes)
    guard isRestoring && isSame else {
      throw VDPAError(
        .operationFailed,
        isRestoring
          ? "the configuration of the migrated device differs at byte \(offset); give both sides the same device"
          : "the configuration space can only be read")
    }
  }
}
