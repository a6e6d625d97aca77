internal import VDPA

/// What the software net datapath does with packets.
public enum PortConfiguration: Sendable, Hashable, CustomStringConvertible {
  /// Gives every packet back on the same queue pair, in order; takes only what it can give back, and never drops.
  case loopback
  /// Counts what the guest sends, and drops it.
  case sink
  /// Sends packets of that length in bytes as fast as the guest offers buffers; what the guest sends is dropped.
  case source(length: Int)
  /// Answers ARP requests and ICMP echo requests for any address; drops everything else.
  case echo

  /// The lengths that a source can send: an Ethernet frame without its checksum, up to the longest that a guest without
  /// offloads takes.
  public static let sourceLengths = 60...9018

  /// A port as it is written on the command line: `loopback`, `sink`, `source`, `source=1500`, `echo`.
  ///
  /// - Throws: ``DatapathError`` `badConfiguration`, naming what there is.
  public init(parsing text: String) throws(DatapathError) {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    switch (parts[0], parts.count > 1 ? parts[1] : nil) {
    case ("loopback", nil): self = .loopback
    case ("sink", nil): self = .sink
    case ("echo", nil): self = .echo
    case ("source", nil): self = .source(length: 64)
    case ("source", let length?):
      guard let bytes = Int(length), PortConfiguration.sourceLengths.contains(bytes) else {
        throw DatapathError(
          .badConfiguration,
          "port \(text): the length has to be \(PortConfiguration.sourceLengths.lowerBound) to "
            + "\(PortConfiguration.sourceLengths.upperBound) bytes")
      }
      self = .source(length: bytes)
    default:
      throw DatapathError(
        .badConfiguration, "there is no port \"\(text)\"; there are loopback, sink, source, source=LENGTH and echo")
    }
  }

  /// As it is written on the command line.
  public var description: String {
    switch self {
    case .loopback: "loopback"
    case .sink: "sink"
    case .source(let length): length == 64 ? "source" : "source=\(length)"
    case .echo: "echo"
    }
  }

  /// A port for one queue pair.
  func make() -> any NetPort {
    switch self {
    case .loopback: LoopbackPort()
    case .sink: SinkPort()
    case .source(let length): SourcePort(length: length)
    case .echo: EchoPort()
    }
  }
}
