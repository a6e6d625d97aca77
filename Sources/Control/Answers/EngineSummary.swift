/// An engine in a list.
package struct EngineSummary: Codable, Hashable, Sendable {
  /// −1 is the software engine.
  package var id: Int
  /// The name of its driver; `software` for engine −1.
  package var driver: String
  package var address: String
  /// How many devices it has; software, which makes one for each socket, has none of its own.
  package var devices: Int

  package init(id: Int, driver: String, address: String, devices: Int) {
    (self.id, self.driver, self.address, self.devices) = (id, driver, address, devices)
  }
}
