/// A device with a state of its own, beyond rings and configuration space, that moves with its guest (vhost-user,
/// Migrating back-end state).
public protocol StateTransfer {
  /// The state as bytes. All vrings are stopped.
  ///
  /// - Throws: Any error; the migration fails.
  func saveState() throws -> [UInt8]

  /// Takes a state over that another device has saved. All vrings are stopped.
  ///
  /// - Parameter bytes: Whatever a peer has sent: to be checked.
  /// - Throws: Any error, saying what is wrong with it; the state is then what it was.
  func loadState(_ bytes: [UInt8]) throws
}
