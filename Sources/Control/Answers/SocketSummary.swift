/// A socket in a list.
package struct SocketSummary: Codable, Sendable {
  package var name: String
  package var path: String
  /// `server` when it listens, `client` when it connects.
  package var role: String
  /// The virtio device type.
  package var type: String
  /// The queues that front-ends are offered.
  package var queues: Int
  /// The id of the engine; −1 for software.
  package var engine: Int
  /// The device's number; −1 for software.
  package var device: Int
  /// `software`, or the name of the engine's driver.
  package var datapath: String
  /// Whether a front-end is connected.
  package var connected: Bool
  /// Whether the device serves the rings.
  package var ready: Bool
  /// What is missing before it does; null when it does.
  @OrNull package var notReadyReason: String?
  /// How often a device has failed since the socket was made.
  package var deviceFailures: Int

  package init(
    name: String, path: String, role: String, type: String, queues: Int, binding: DeviceNumbers, datapath: String,
    connected: Bool, ready: Bool, notReadyReason: String?, deviceFailures: Int
  ) {
    (self.name, self.path, self.role, self.type, self.queues) = (name, path, role, type, queues)
    (engine, device, self.datapath) = (binding.engine, binding.device, datapath)
    (self.connected, self.ready, self.deviceFailures) = (connected, ready, deviceFailures)
    self.notReadyReason = notReadyReason
  }

  package var binding: DeviceNumbers { DeviceNumbers(engine: engine, device: device) }
}
