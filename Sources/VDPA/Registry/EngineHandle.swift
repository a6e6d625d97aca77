/// Stands for an engine of a registry. A handle to an engine that was removed is an error, never another engine.
public struct EngineHandle: Sendable, Hashable, CustomStringConvertible {
  /// The engine's id; −1 is the software engine.
  public let id: Int
  let generation: UInt64

  /// The software engine, which is always there.
  public static let software = EngineHandle(id: -1, generation: 0)

  /// `engine 0`.
  public var description: String { "engine \(id)" }
}

/// Stands for a device of an engine: (engine id, device id); (−1, −1) is the software datapath.
public struct DeviceHandle: Sendable, Hashable, CustomStringConvertible {
  /// The engine.
  public let engine: EngineHandle
  /// The device's number within it; −1 at the software engine.
  public let device: Int

  /// A device of an engine. Whether there is one shows when it is claimed.
  public init(engine: EngineHandle, device: Int) {
    self.engine = engine
    self.device = device
  }

  /// The software datapath: (−1, −1).
  public static let software = DeviceHandle(engine: .software, device: -1)

  /// `engine 0 device 1`; `software` for (−1, −1).
  public var description: String { self == .software ? "software" : "\(engine) device \(device)" }
}
