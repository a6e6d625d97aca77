public import SystemPackage
public import VDPA
public import Virtio

/// What a vhost-user socket is.
public struct SocketConfiguration: Sendable {
  /// Where the front-end comes from.
  public enum Endpoint: Sendable {
    /// A Unix socket that is made at this path (107 bytes at most) and listened on.
    case listen(path: String)
    /// The front-end listens on a Unix socket at this path (107 bytes at most), or will: it is connected to, and again
    /// whenever the connection has ended.
    case connect(path: String)
    /// A descriptor of a listening or connected Unix socket that was inherited; it is taken over.
    case inherited(FileDescriptor)
  }

  /// What the socket is called in logs and errors.
  public var name: String
  /// Where the front-end comes from.
  public var endpoint: Endpoint
  /// The virtio device type that it offers.
  public var type: DeviceType
  /// Settings for the device that serves it, such as a net device's `port`.
  public var parameters: Parameters
  /// Permission bits of the socket file that is made; nil leaves them to the umask.
  public var mode: UInt32?
  /// The numeric owner of the socket file that is made; nil leaves it.
  public var owner: UInt32?
  /// The numeric group of the socket file that is made; nil leaves it.
  public var group: UInt32?
  /// Which kinds of file may be guest memory.
  public var memoryPolicy: MemoryMapping.FilePolicy
  /// What becomes of the guest when the device fails that the socket is bound to.
  public var failover = Failover.off
  /// How long after a failover the socket is to be bound to its device again, in milliseconds, and how often that is tried
  /// until it succeeds; nil leaves it to whoever operates it.
  public var returnsAfter: Int?
  /// What is done about a device that has work and makes no progress; nil for nothing. Software is not looked at: its workers
  /// have a watchdog.
  public var stalls: StallPolicy? = StallPolicy()

  /// A socket.
  ///
  /// - Parameters:
  ///   - name: What it is called; nil for the last part of its path.
  ///   - endpoint: Where the front-end comes from.
  ///   - type: The virtio device type that it offers.
  ///   - parameters: Settings for the device that serves it.
  public init(name: String? = nil, endpoint: Endpoint, type: DeviceType = .net, parameters: Parameters = [:]) {
    self.endpoint = endpoint
    self.type = type
    self.parameters = parameters
    memoryPolicy = .memoryOnly
    switch endpoint {
    case .listen(let path), .connect(let path):
      self.name = name ?? path.split(separator: "/").last.map(String.init) ?? path
    case .inherited(let descriptor): self.name = name ?? "fd \(descriptor.rawValue)"
    }
  }

  /// The path that is listened on or connected to; empty for an inherited descriptor.
  var path: String {
    switch endpoint {
    case .listen(let path), .connect(let path): path
    case .inherited: ""
    }
  }

  /// Which side of the connection it is.
  var role: SocketStatus.Role {
    if case .connect = endpoint { .client } else { .server }
  }
}
