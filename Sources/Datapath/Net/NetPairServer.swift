internal import VDPA

/// Who serves a queue pair of a software net device: a worker, by a port, or the application.
protocol NetPairServer: AnyObject, Sendable {
  /// What the guest receives from.
  var receive: OwnedVring { get }
  /// What the guest sends on.
  var transmit: OwnedVring { get }

  /// The pair belongs to a device from now on; its vrings start one by one.
  ///
  /// - Parameter owner: Whose device it is, as it appears in errors.
  /// - Throws: Any error, when it belongs to another device.
  func begin(for owner: String) throws

  /// The pair belongs to no device any more; its vrings have been stopped.
  func end()

  /// Watches the kick descriptor of a vring.
  ///
  /// - Throws: Any error, when the system does not do it.
  func watch(_ kick: OwnedFD, isTransmit: Bool) throws

  /// Ends a watch.
  func unwatch(_ kick: OwnedFD, isTransmit: Bool)

  /// Takes a frame as if the guest had sent it.
  ///
  /// - Throws: ``DatapathError`` `stuck`.
  func announce(_ frame: [UInt8]) throws

  /// A vring was changed, and is to be looked at.
  func changed(isTransmit: Bool)

  /// Has another worker serve the pair for the time being. What the application serves stays with it.
  ///
  /// - Throws: Any error, when the one that does it now does not leave it, or the system does not do it.
  func leave(for worker: Worker) throws

  /// Has it served as before ``leave(for:)``.
  ///
  /// - Throws: As ``leave(for:)``.
  func comeBack() throws

  /// Says whether a burst may take as long as pages of memory need to arrive.
  func mayTakeLong(_ mayTakeLong: Bool)
}

extension NetPairServer {
  func leave(for worker: Worker) throws {}
  func comeBack() throws {}

  func mayTakeLong(_ mayTakeLong: Bool) {
    for vring in [receive, transmit] { vring.ownership.mayTakeLong(mayTakeLong) }
  }
}
