/// A device with objects, such as pictures in a dma-buf, that other devices may use (vhost-user, GET_SHARED_OBJECT).
public protocol SharedObjects {
  /// The object of a UUID.
  ///
  /// - Parameter uuid: 16 bytes in the order of RFC 4122.
  /// - Returns: nil when the device has none such.
  func sharedObject(_ uuid: [UInt8]) -> OwnedFD?

  /// What has come of a ``DeviceReport/sharedObjectWanted(uuid:)``.
  ///
  /// - Parameters:
  ///   - uuid: The object's.
  ///   - object: The object; nil when nobody has it, or nobody could be asked.
  func sharedObjectFound(_ uuid: [UInt8], _ object: OwnedFD?)
}
