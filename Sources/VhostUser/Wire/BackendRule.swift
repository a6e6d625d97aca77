package import VDPA
package import Virtio

/// What the specification says about one request of the back-channel: the row of a table that both roles go by.
package struct BackendRule: Sendable {
  package typealias Decoder = @Sendable (inout WireReader, [OwnedFD]) throws(VhostUserError) -> BackendMessage

  package let request: BackendRequest
  /// How many bytes the payload has.
  package let payload: Int
  /// How many descriptors may come along.
  package let descriptors: ClosedRange<Int>
  /// Features that the front-end must have accepted.
  package let accepted: Features
  /// Protocol features that must have been negotiated.
  package let negotiated: ProtocolFeatures
  private let decoder: Decoder

  private init(
    _ request: BackendRequest, payload: Int = 0, descriptors: ClosedRange<Int> = 0...0, accepted: Features = [],
    negotiated: ProtocolFeatures = [], decoder: @escaping Decoder
  ) {
    self.request = request
    self.payload = payload
    self.descriptors = descriptors
    self.accepted = accepted
    self.negotiated = negotiated.union(.backendRequests)
    self.decoder = decoder
  }

  /// The rule of the request in a header.
  ///
  /// - Throws: `.unknownRequest`, naming it.
  package static func rule(for header: MessageHeader) throws(VhostUserError) -> BackendRule {
    guard let request = BackendRequest(rawValue: header.request), let rule = table[request] else {
      throw VhostUserError(.unknownRequest, "this request is not known")
        .with(request: BackendRequest.name(of: header.request))
    }
    return rule
  }

  /// Why the request may not be sent; nil when it may.
  package func refusal(accepted: Features, protocolFeatures: ProtocolFeatures) -> String? {
    let notAccepted = self.accepted.subtracting(accepted)
    if !notAccepted.isEmpty { return "needs feature bits \(notAccepted.bits), which were not accepted" }
    let missing = negotiated.subtracting(protocolFeatures)
    return missing.isEmpty ? nil : "needs \(missing), which was not negotiated"
  }

  /// Decodes and checks a message of this request.
  package func decode(_ message: RawMessage) throws(VhostUserError) -> BackendMessage {
    do throws(VhostUserError) {
      guard message.payload.count == payload else {
        throw VhostUserError(.malformed, "a payload of \(message.payload.count) bytes, which it cannot have")
      }
      guard descriptors.contains(message.descriptors.count) else {
        throw VhostUserError(
          message.descriptors.count < descriptors.lowerBound ? .missingDescriptor : .tooManyDescriptors,
          "\(message.descriptors.count) descriptors came along")
      }
      var reader = WireReader(message.payload)
      let decoded = try decoder(&reader, message.descriptors)
      try reader.finish()
      return decoded
    } catch {
      throw error.with(request: request.description)
    }
  }

  /// Every request of the back-channel (vhost-user, Back-end message types).
  package static let table: [BackendRequest: BackendRule] = Dictionary(
    uniqueKeysWithValues: rules.map { ($0.request, $0) })

  private static let rules: [BackendRule] = [
    BackendRule(.iotlbMessage, payload: IOTLBPayload.byteCount, accepted: .accessPlatform) {
      (reader, _) throws(VhostUserError) in
      .iotlb(try IOTLBPayload(from: &reader))
    },
    BackendRule(.configurationChange, negotiated: .configuration) { _, _ in .configurationChange },
    BackendRule(
      .vringHostNotifier, payload: VringAreaPayload.byteCount, descriptors: 0...1,
      negotiated: [.hostNotifier, .backendSendFD]
    ) { (reader, descriptors) throws(VhostUserError) in
      let area = try VringAreaPayload(from: &reader)
      guard area.hasDescriptor == (descriptors.count == 1) else {
        throw VhostUserError(
          area.hasDescriptor ? .missingDescriptor : .tooManyDescriptors, "\(descriptors.count) descriptors came along")
      }
      return .vringHostNotifier(area, descriptor: descriptors.first)
    },
    BackendRule(.vringCall, payload: VringStatePayload.byteCount, negotiated: .inbandNotifications) {
      (reader, _) throws(VhostUserError) in
      .vringCall(index: try VringStatePayload(from: &reader).index)
    },
    BackendRule(.vringError, payload: VringStatePayload.byteCount, negotiated: .inbandNotifications) {
      (reader, _) throws(VhostUserError) in
      .vringError(index: try VringStatePayload(from: &reader).index)
    },
    BackendRule(.sharedObjectAdd, payload: SharedObjectPayload.byteCount, negotiated: .sharedObject) {
      (reader, _) throws(VhostUserError) in
      .sharedObjectAdd(try SharedObjectPayload(from: &reader))
    },
    BackendRule(.sharedObjectRemove, payload: SharedObjectPayload.byteCount, negotiated: .sharedObject) {
      (reader, _) throws(VhostUserError) in
      .sharedObjectRemove(try SharedObjectPayload(from: &reader))
    },
    BackendRule(.sharedObjectLookup, payload: SharedObjectPayload.byteCount, negotiated: .sharedObject) {
      (reader, _) throws(VhostUserError) in
      .sharedObjectLookup(try SharedObjectPayload(from: &reader))
    },
    BackendRule(
      .sharedMemoryMap, payload: SharedMapPayload.byteCount, descriptors: 1...1,
      negotiated: [.sharedMemory, .backendSendFD]
    ) { (reader, descriptors) throws(VhostUserError) in
      .sharedMemoryMap(try SharedMapPayload(from: &reader), descriptor: descriptors[0])
    },
    BackendRule(.sharedMemoryUnmap, payload: SharedMapPayload.byteCount, negotiated: .sharedMemory) {
      (reader, _) throws(VhostUserError) in
      .sharedMemoryUnmap(try SharedMapPayload(from: &reader))
    },
  ]
}
