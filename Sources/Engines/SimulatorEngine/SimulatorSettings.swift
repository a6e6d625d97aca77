internal import VDPA
internal import Virtio

/// The parameters of a simulator engine, checked.
struct SimulatorSettings: Sendable, Hashable {
  var devices: Int
  var queues: Int
  var ringSize: Int
  var translation: Translation
  var traffic: Traffic
  var sourceLength: Int

  /// The names of the parameters, as on a command line.
  static let names = ["devices", "queues", "ring-size", "translation", "traffic", "source-length"]

  /// The longest payload that a source sends: what a burst takes, less the header.
  static let maxSourceLength = PacketBurst.maxLength - NetHeader.modernLength

  init(_ parameters: Parameters) throws {
    try parameters.allow(only: SimulatorSettings.names, for: "the simulator")
    devices = try parameters.int("devices", in: 1...64) ?? 1
    queues = try parameters.int("queues", in: 1...128) ?? 4
    ringSize = try parameters.int("ring-size", in: 1...32768) ?? 256
    guard ringSize & (ringSize - 1) == 0 else {
      throw SimulatorError(
        .badParameter, "parameter ring-size=\(ringSize) is not a power of two from 1 to 32768")
    }
    translation = try SimulatorSettings.choice("translation", in: parameters) ?? .onChip
    traffic = try SimulatorSettings.choice("traffic", in: parameters) ?? .loopback
    // An Ethernet header is the least that is a packet.
    sourceLength = try parameters.int("source-length", in: 14...SimulatorSettings.maxSourceLength) ?? 64
    guard traffic == .source || parameters["source-length"] == nil else {
      throw SimulatorError(
        .badParameter, "parameter source-length=\(sourceLength) needs traffic=source, not \(traffic.rawValue)")
    }
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

  /// What a device offers with at most `pairs` queue pairs.
  ///
  /// ACCESS_PLATFORM is between the framework and the device, which sees guest physical addresses; a front-end that
  /// accepted it would send an IOTLB.
  func attributes(pairs: Int) -> DeviceAttributes {
    var features: Features = DeviceRing.features.union([
      .netMergeableBuffers, .netMAC, .netStatus, .netMTU, .netControlQueue,
    ])
    if pairs > 1 { features.insert(.netMultiqueue) }
    return DeviceAttributes(
      type: .net, features: features, protocolFeatures: [.multiqueue, .replyAck, .status, .memorySlots],
      vringCount: 2 * pairs, maxRingSize: ringSize, startsAnywhere: true, completesInOrder: true,
      operationsMayBlock: true)
  }

  /// The configuration space of a device: a locally administered MAC address that ends in its number, link up, MTU 1500.
  func configuration(device: Int, pairs: Int) -> NetConfiguration {
    let mac = MACAddress(bytes: [0x02, 0x76, 0x64, 0x70, 0x61, UInt8(truncatingIfNeeded: device)]) ?? .zero
    return NetConfiguration(mac: mac, maxQueuePairs: UInt16(pairs))
  }
}
