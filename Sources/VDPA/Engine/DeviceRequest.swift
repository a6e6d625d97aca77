public import Virtio

/// What a bus driver asks an engine for when it claims a device.
public struct DeviceRequest: Sendable {
  /// The device's number within its engine; −1 at engine −1, which makes a device for each request.
  public var device: Int
  /// Who asks, as it appears in logs: the name of a socket.
  public var owner: String
  /// The virtio type that the device has to have.
  public var type: DeviceType
  /// The queues wanted at most, as users count them: pairs for net, rings for block. nil: as many as there are.
  public var queues: Int?
  /// Settings for the device itself; for the software engine they say what it is made of (a net device's port).
  public var parameters: Parameters

  /// A request.
  public init(device: Int, owner: String, type: DeviceType, queues: Int? = nil, parameters: Parameters = [:]) {
    self.device = device
    self.owner = owner
    self.type = type
    self.queues = queues
    self.parameters = parameters
  }
}
