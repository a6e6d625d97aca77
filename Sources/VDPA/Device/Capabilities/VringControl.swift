/// Stopping single vrings.
public protocol VringControl {
  /// Stops a vring: nothing new is fetched from it, what was fetched is finished, and then it is no longer touched.
  ///
  /// - Parameter index: The vring.
  /// - Returns: Where it stands.
  /// - Throws: Any error; the framework then closes the device.
  func stopVring(_ index: Int) throws -> VringState
}
