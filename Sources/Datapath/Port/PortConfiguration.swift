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
  /// A TAP device of the host, with a queue for each queue pair; it is made if there is none of that name.
  case tap(name: String)
  /// A port of a switch: all sockets of this engine that name the same one reach each other.
  case `switch`(name: String)

  /// The lengths that a source can send: an Ethernet frame without its checksum, up to the longest that a guest without
  /// offloads takes.
  public static let sourceLengths = 60...9018

  /// A port as it is written on the command line: `loopback`, `sink`, `source`, `source=1500`, `echo`, `tap=tap0`,
  /// `switch=lan`.
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
    case ("tap", let name):
      guard let name, TapDevice.isName(name) else {
        throw DatapathError(
          .badConfiguration,
          "port \(text): tap=NAME takes the name of a network device, 1 to \(TapDevice.maxNameLength) characters")
      }
      self = .tap(name: name)
    case ("switch", let name):
      guard let name, !name.isEmpty, !name.contains(",") else {
        throw DatapathError(.badConfiguration, "port \(text): switch=NAME takes a name without commas")
      }
      self = .switch(name: name)
    default:
      throw DatapathError(
        .badConfiguration,
        "there is no port \"\(text)\"; there are loopback, sink, source, source=LENGTH, echo, tap=NAME and switch=NAME")
    }
  }

  /// As it is written on the command line.
  public var description: String {
    switch self {
    case .loopback: "loopback"
    case .sink: "sink"
    case .source(let length): length == 64 ? "source" : "source=\(length)"
    case .echo: "echo"
    case .tap(let name): "tap=\(name)"
    case .switch(let name): "switch=\(name)"
    }
  }
}
