import VDPA

/// Where the connections of a socket come from: one after the other. Everything happens on the thread of the socket's loop.
protocol ConnectionSource: Sendable {
  /// What the socket waits for while it has no connection, in words.
  var waitingFor: String { get }

  /// Begins to hand connections over.
  ///
  /// - Parameters:
  ///   - onConnection: Called with each connected socket.
  ///   - onError: Called when there can be no connection for now; once until there is one again.
  ///   - onChange: Called when ``waitingFor`` has changed.
  func start(
    onConnection: @escaping @Sendable (OwnedFD) -> Void, onError: @escaping @Sendable (VhostUserError) -> Void,
    onChange: @escaping @Sendable () -> Void
  ) throws(VhostUserError)

  /// The connection that was handed over last has ended.
  ///
  /// - Parameter wasReady: Whether the device has served its rings.
  func connectionEnded(wasReady: Bool)

  /// Hands over no more.
  func stop()
}
