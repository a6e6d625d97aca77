public import VDPA

/// How a socket stands, for people and scripts.
public struct SocketStatus: Sendable {
  /// Which side of the connection a socket is.
  public enum Role: String, Sendable {
    /// It listens, or has inherited its socket.
    case server
    /// It connects to a front-end that listens.
    case client
  }

  /// The socket's name.
  public var name: String
  /// Its path; empty for an inherited descriptor.
  public var path: String
  /// Which side of the connection it is.
  public var role: Role
  /// The device that it is bound to; ``DeviceHandle/software`` when it is not.
  public var binding: DeviceHandle
  /// `software`, or the name of the engine's driver.
  public var datapath: String
  /// Whether a front-end is connected.
  public var isConnected: Bool
  /// Whether the device serves the rings.
  public var isReady: Bool
  /// What is missing before it does, in words; nil when it does.
  public var notReadyReason: String?
  /// How often a device has failed since the socket was started.
  public var deviceFailures: Int
  /// How often software has taken over from a device that failed since the socket was started.
  public var failovers: Int
  /// Why it has done so last; nil when it has not.
  public var failoverReason: String?
}
