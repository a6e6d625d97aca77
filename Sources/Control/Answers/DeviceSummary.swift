/// A device in a list.
package struct DeviceSummary: Codable, Sendable {
  /// The id of its engine.
  package var engine: Int
  /// Its number within the engine.
  package var device: Int
  /// The name of the engine's driver.
  package var driver: String
  /// The engine's address.
  package var address: String
  /// The name of the socket that it serves; null for none.
  @OrNull package var socket: String?

  package init(_ numbers: DeviceNumbers, driver: String, address: String, socket: String?) {
    (engine, device, self.driver, self.address) = (numbers.engine, numbers.device, driver, address)
    self.socket = socket
  }

  package var numbers: DeviceNumbers { DeviceNumbers(engine: engine, device: device) }
}
