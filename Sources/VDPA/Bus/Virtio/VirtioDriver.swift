public import Virtio

/// The bus driver `virtio`: this process drives a device itself, without a VM, for self-tests, benchmarks and the conformance
/// kit.
///
///     let device = try VirtioDriver(registry).claim(handle, type: .net)
///     try device.negotiate([.version1, .eventIndex])
///     let guest = try device.makeGuest(bufferBytes: 1 << 20)
///     try device.start(guest)
public struct VirtioDriver: Sendable {
  /// Whose devices it drives.
  public let registry: Registry
  /// For whom, as it appears in logs and errors.
  public let owner: String

  /// A driver for devices of a registry.
  public init(_ registry: Registry, owner: String = BusDriver.virtio.rawValue) {
    self.registry = registry
    self.owner = owner
  }

  /// Claims a device.
  ///
  /// - Parameters:
  ///   - device: Which one; ``DeviceHandle/software`` for a new software device.
  ///   - type: The virtio type that it has to have.
  ///   - queues: The most queues wanted; nil for as many as there are.
  ///   - parameters: Settings for the device itself.
  /// - Throws: ``VDPAError``, as ``Registry/claim(_:type:by:owner:queues:parameters:)``.
  public func claim(
    _ device: DeviceHandle, type: DeviceType, queues: Int? = nil, parameters: Parameters = [:]
  ) throws(VDPAError) -> DrivenDevice {
    DrivenDevice(
      try registry.claim(
        device, type: type, by: .virtio, owner: owner, queues: queues, parameters: parameters))
  }
}
