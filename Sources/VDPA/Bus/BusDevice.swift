/// A device as the bus knows it, at one moment.
public struct BusDevice: Sendable, Hashable, CustomStringConvertible {
  /// Who has a device.
  public struct Claim: Sendable, Hashable, CustomStringConvertible {
    /// The bus driver.
    public let driver: BusDriver
    /// For whom: the name of a socket, for example.
    public let owner: String

    /// `vhostUser for vm0.sock`.
    public var description: String { "\(driver) for \(owner)" }
  }

  /// Which one it is.
  public let handle: DeviceHandle
  /// The name of its engine's driver.
  public let engineDriver: String
  /// Where its engine is.
  public let address: EngineAddress
  /// What it is and offers; nil while that is not known, because its engine says so only of a device that was claimed.
  public let attributes: DeviceAttributes?
  /// Who has it; nil while it is free.
  public let claim: Claim?
  /// The only bus driver that may claim it; nil for any.
  public let driverOverride: BusDriver?

  /// `engine 0 device 1 (simulator, net): vhostUser for vm0.sock`.
  public var description: String {
    let type = attributes.map { ", \($0.type)" } ?? ""
    let use = claim?.description ?? driverOverride.map { "free, for \($0) only" } ?? "free"
    return "\(handle) (\(engineDriver)\(type)): \(use)"
  }
}
