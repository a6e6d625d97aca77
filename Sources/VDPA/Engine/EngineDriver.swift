/// Brings engines of one kind up (design: `eng_init`).
///
/// An application registers its drivers by name with ``Registry/register(_:)`` and then adds engines by driver name and
/// address.
public protocol EngineDriver: Sendable {
  /// The name that the driver is registered under: lower case, without spaces.
  var name: String { get }

  /// Starts an engine.
  ///
  /// Called on the thread of the application that adds the engine; it may block.
  ///
  /// - Parameter address: Where it is and how to set it up. Unknown parameters are an error.
  /// - Returns: The engine, up and running.
  /// - Throws: Any error whose description tells an operator what to do; nothing may be left behind then.
  func start(at address: EngineAddress) throws -> any Engine
}
