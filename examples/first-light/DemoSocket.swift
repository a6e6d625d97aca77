/// The two sockets of the demo, and what has to serve each.
enum DemoSocket: CaseIterable {
  case bound
  case unbound

  /// The name of the socket file, which names the socket too.
  var name: String { "\(self).sock" }

  func path(in directory: String) -> String { "\(directory)/\(name)" }

  /// The id of the engine that has to carry the packets.
  var engine: Int { self == .bound ? 0 : -1 }
  /// The id of its device.
  var device: Int { self == .bound ? 0 : -1 }
  /// What the socket has to call that datapath.
  var datapath: String { self == .bound ? "simulator" : "software" }
}
