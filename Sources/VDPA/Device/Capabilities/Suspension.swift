/// A device that can stand still, all of it at once, without being closed (the kernel's `suspend` and `resume`).
public protocol Suspension {
  /// Stops the device: nothing new is fetched, what was fetched is finished, and then guest memory is no longer touched.
  /// The device stays configured, and may be closed as it is.
  ///
  /// - Returns: Where each vring stands that runs, in any order.
  /// - Throws: Any error; the device may then go on.
  func suspend() throws -> [VringState]

  /// Lets the device go on from where it stands.
  ///
  /// - Throws: Any error; the device is then to be closed.
  func resume() throws
}
