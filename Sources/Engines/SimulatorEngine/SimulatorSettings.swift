internal import VDPA
internal import Virtio

/// The parameters of a simulator engine, checked.
struct SimulatorSettings: Sendable, Hashable {
  var type: DeviceType
  var devices: Int
  var queues: Int
  var ringSize: Int
  var translation: Translation
  var order: CompletionOrder
  /// In microseconds.
  var latency: Int
  /// What is shuffled is shuffled by it.
  var seed: UInt64
  var hasDirtyTracking: Bool
  var hasNotifyArea: Bool
  /// Features that are not offered.
  var withoutFeatures: Features = []
  /// What else is not.
  var without: Set<Omission> = []
  // Of a net device:
  var traffic: Traffic
  var sourceLength: Int
  // Of a block device:
  /// In MiB, of a disk of its own memory.
  var capacity: Int
  /// The path of the disk's file; nil for a disk of memory.
  var file: String?
  var isReadOnly: Bool
  /// What GET_ID answers; nil for a name of the device's own.
  var serial: String?

  /// The names of the parameters, as on a command line.
  static let names =
    [
      "type", "devices", "queues", "ring-size", "translation", "order", "latency", "seed", "dirty-tracking",
      "notify-area", "without",
    ] + netNames + blockNames
  private static let netNames = ["traffic", "source-length"]
  private static let blockNames = ["capacity", "file", "read-only", "serial"]

  /// The longest payload that a source sends: what a burst takes, less the header.
  static let maxSourceLength = PacketBurst.maxLength - NetHeader.modernLength
  /// The longest latency, in microseconds.
  static let maxLatency = 1_000_000

  private enum Kind: String, CaseIterable {
    case net, block
  }
  private enum Switch: String, CaseIterable {
    case on, off
  }

  init(_ parameters: Parameters) throws {
    try parameters.allow(only: SimulatorSettings.names, for: "the simulator")
    type = try SimulatorSettings.choice("type", in: parameters) ?? Kind.net == .net ? .net : .block
    for name in type == .net ? SimulatorSettings.blockNames : SimulatorSettings.netNames
    where parameters[name] != nil {
      throw SimulatorError(.badParameter, "parameter \(name) is not of a \(type) device (parameter type)")
    }
    devices = try parameters.int("devices", in: 1...64) ?? 1
    queues = try parameters.int("queues", in: 1...128) ?? 4
    ringSize = try parameters.int("ring-size", in: 1...32768) ?? 256
    guard ringSize & (ringSize - 1) == 0 else {
      throw SimulatorError(
        .badParameter, "parameter ring-size=\(ringSize) is not a power of two from 1 to 32768")
    }
    translation = try SimulatorSettings.choice("translation", in: parameters) ?? .onChip
    order = try SimulatorSettings.choice("order", in: parameters) ?? .inOrder
    latency = try parameters.int("latency", in: 0...SimulatorSettings.maxLatency) ?? 0
    seed = UInt64(try parameters.int("seed", in: 0...Int.max) ?? 1)
    hasDirtyTracking = try SimulatorSettings.choice("dirty-tracking", in: parameters) ?? Switch.on == .on
    hasNotifyArea = try SimulatorSettings.choice("notify-area", in: parameters) ?? Switch.off == .on
    traffic = try SimulatorSettings.choice("traffic", in: parameters) ?? .loopback
    // An Ethernet header is the least that is a packet.
    sourceLength = try parameters.int("source-length", in: 14...SimulatorSettings.maxSourceLength) ?? 64
    guard traffic == .source || parameters["source-length"] == nil else {
      throw SimulatorError(
        .badParameter, "parameter source-length=\(sourceLength) needs traffic=source, not \(traffic.rawValue)")
    }
    capacity = try parameters.int("capacity", in: 1...1 << 20) ?? 64
    file = parameters["file"]
    guard file == nil || parameters["capacity"] == nil else {
      throw SimulatorError(.badParameter, "parameter capacity=\(capacity): a file has the size that it has")
    }
    isReadOnly = try SimulatorSettings.choice("read-only", in: parameters) ?? Switch.off == .on
    serial = parameters["serial"]
    guard (serial ?? "").utf8.count <= BlockRequest.idLength else {
      throw SimulatorError(
        .badParameter, "parameter serial=\(serial ?? "") has more than \(BlockRequest.idLength) characters")
    }
    for name in (parameters["without"] ?? "").split(separator: "+") { try omit(String(name)) }
  }

  private static func choice<Choice: RawRepresentable & CaseIterable>(
    _ key: String, in parameters: Parameters
  ) throws(SimulatorError) -> Choice? where Choice.RawValue == String {
    guard let text = parameters[key] else { return nil }
    guard let choice = Choice(rawValue: text) else {
      let known = Choice.allCases.map(\.rawValue).joined(separator: ", ")
      throw SimulatorError(.badParameter, "parameter \(key)=\(text) is none of: \(known)")
    }
    return choice
  }

  /// Does without something: a feature by the standard's name, or an ``Omission``.
  private mutating func omit(_ name: String) throws(SimulatorError) {
    if let omission = Omission(rawValue: name) {
      without.insert(omission)
    } else if let bit = (0..<64).first(where: { Features(bit: $0).describe(for: type) == "\(name) (\($0))" }) {
      withoutFeatures.insert(Features(bit: bit))
    } else {
      let known = Omission.allCases.map(\.rawValue).joined(separator: ", ")
      throw SimulatorError(
        .badParameter,
        "parameter without=\(name) is neither a feature of a \(type) device, by the standard's name, nor one of: \(known)"
      )
    }
  }

  /// The configuration space of a net device: a locally administered MAC address that ends in its number, link up, MTU 1500.
  func configuration(device: Int, pairs: Int) -> NetConfiguration {
    let mac = MACAddress(bytes: [0x02, 0x76, 0x64, 0x70, 0x61, UInt8(truncatingIfNeeded: device)]) ?? .zero
    return NetConfiguration(mac: mac, maxQueuePairs: UInt16(pairs))
  }
}
