public import VDPA

/// A port whose packets the application moves itself, in bursts, on threads of its own: no worker serves it.
///
/// It is made by ``SoftwareEngine/makeApplicationPort(named:pairs:)``, and a socket gets it by its ``parameters``. One device
/// at a time has it; the queues can be used before, while and after there is one. A program that gives everything back:
///
/// ```swift
/// let software = try SoftwareEngine()
/// let port = try software.makeApplicationPort(named: "vm0")
/// let socket = VhostUserSocket(
///   SocketConfiguration(endpoint: .listen(path: "/run/vm0.sock"), parameters: port.parameters),
///   registry: Registry(software: software), threads: try SessionThreads())
/// try socket.start()
/// let pool = try PacketPool(count: 4096)
/// let burst = PacketBurst(pool)
/// let (fromGuest, toGuest) = (port.pairs[0].transmit, port.pairs[0].receive)
/// while true {
///   fromGuest.dequeueBurst(into: burst)
///   for i in 0..<burst.count { burst.withPayload(of: i) { frame in inspect(&frame) } }
///   toGuest.enqueueBurst(from: burst)  // what does not fit now stays in the burst
///   if burst.count == 0 { fromGuest.wait() }
/// }
/// ```
public final class ApplicationPort: Sendable {
  /// The name that a socket's parameters have for it.
  public let name: String
  /// The queue pairs, as many as a socket can have at most.
  public let pairs: [NetQueuePair]
  let servers: [ApplicationPair]

  init(name: String, pairs count: Int) throws(DatapathError) {
    guard !name.isEmpty, !name.contains(",") else {
      throw DatapathError(.badConfiguration, "an application port has a name without commas, not \"\(name)\"")
    }
    guard (1...SoftwareNetDevice.maxPairs).contains(count) else {
      throw DatapathError(
        .badConfiguration,
        "application port \(name): \(count) queue pairs; a net device has 1 to \(SoftwareNetDevice.maxPairs)")
    }
    self.name = name
    var servers: [ApplicationPair] = []
    for i in 0..<count { servers.append(try ApplicationPair(name: "application port \(name)", index: i)) }
    self.servers = servers
    pairs = servers.map(\.queues)
  }

  /// What the parameters of a socket say so that it is served here: `port=application:NAME`. More can be added, such as
  /// `mac` and `mtu`.
  public var parameters: Parameters { ["port": ApplicationPort.prefix + name] }

  private static let prefix = "application:"

  /// The name of an application port that a `port` parameter has; nil for a port of another kind.
  static func name(in parameter: String) -> String? {
    parameter.hasPrefix(prefix) ? String(parameter.dropFirst(prefix.count)) : nil
  }
}
