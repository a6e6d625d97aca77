/// A group of devices that are brought up and taken down together (design: `info_query`, `eng_uninit`).
///
/// The registry calls every function of an engine from application threads, at most one at a time for one device.
public protocol Engine: AnyObject, Sendable {
  /// What the engine has, as of now.
  var attributes: EngineAttributes { get }

  /// Hands out a device. The registry asks for each device at most once until it has given it back by letting go of it.
  ///
  /// - Parameter request: Which device, for whom, and what it has to be like.
  /// - Returns: The device; from here on it is called in its own context only and needs no locks against itself.
  /// - Throws: Any error whose description tells an operator what to do.
  func open(_ request: DeviceRequest) throws -> sending any Device

  /// Ends the engine. All its devices have been closed and let go of.
  func stop()
}

/// What an engine has.
public struct EngineAttributes: Sendable, Hashable {
  /// How many devices there are; they are numbered from 0.
  public var deviceCount: Int

  /// The attributes of an engine with that many devices.
  public init(deviceCount: Int) { self.deviceCount = deviceCount }
}
