/// A group of devices that are brought up and taken down together (design: `info_query`, `eng_uninit`).
///
/// The registry calls every function of an engine from application threads, at most one at a time for one device.
public protocol Engine: AnyObject, Sendable {
  /// What the engine has, as of now.
  var attributes: EngineAttributes { get }

  /// What a device is and offers when all of it is asked for, as far as that is known before anybody has claimed it. Called at any
  /// time while the engine runs, from any thread.
  ///
  /// - Parameter index: The device's number.
  /// - Returns: nil when it shows only when the device is claimed, which is what an engine says that does not have this
  ///   function.
  func deviceAttributes(_ index: Int) -> DeviceAttributes?

  /// Hands out a device. The registry asks for each device at most once until it has given it back by letting go of it.
  ///
  /// - Parameter request: Which device, for whom, and what it has to be like.
  /// - Returns: The device; from here on it is called in its own context only and needs no locks against itself.
  /// - Throws: Any error whose description tells an operator what to do.
  func open(_ request: DeviceRequest) throws -> sending any Device

  /// Ends the engine. All its devices have been closed and let go of.
  func stop()
}

extension Engine {
  /// Nothing is known of a device that nobody has claimed.
  public func deviceAttributes(_ index: Int) -> DeviceAttributes? { nil }
}

/// What an engine has.
public struct EngineAttributes: Sendable, Hashable {
  /// How many devices there are; they are numbered from 0.
  public var deviceCount: Int

  /// The attributes of an engine with that many devices.
  public init(deviceCount: Int) { self.deviceCount = deviceCount }
}
