import Testing
import VDPA
import VhostUser
import Virtio

/// Requests of the back-end, which one role writes and the other reads.
struct BackendMessageTests {
  private static let object = SharedObjectPayload(bytes: [UInt8](0..<16))
  private static let map = SharedMapPayload(
    region: 1, fileOffset: 0x1000, offset: 0x2000, size: 0x3000, isWritable: true)

  /// Every request, where it has two forms both.
  private static func samples() throws -> [BackendMessage] {
    let file = try EventFD.make()
    return [
      .iotlb(IOTLBPayload(.miss, address: 0x1000, size: 1, access: .write)), .configurationChange,
      .vringHostNotifier(
        VringAreaPayload(index: 1, hasDescriptor: true, size: 0x1000, offset: 0x2000), descriptor: file),
      .vringHostNotifier(VringAreaPayload(index: 255, hasDescriptor: false), descriptor: nil),
      .vringCall(index: 7), .vringError(index: 8), .sharedObjectAdd(object), .sharedObjectRemove(object),
      .sharedObjectLookup(object), .sharedMemoryMap(map, descriptor: file), .sharedMemoryUnmap(map),
    ]
  }

  private func raw(_ message: BackendMessage) throws -> RawMessage {
    let bytes = message.encoded(needsReply: true)
    let header = try MessageHeader(decoding: Array(bytes.prefix(MessageHeader.byteCount)))
    return RawMessage(
      header: header, payload: Array(bytes.dropFirst(MessageHeader.byteCount)), descriptors: message.descriptors)
  }

  @Test("What is written is read as the same, its descriptors with it")
  func everyRequest() throws {
    let samples = try Self.samples()
    #expect(Set(samples.map(\.request)) == Set(BackendRequest.allCases))
    for message in samples {
      let raw = try raw(message)
      #expect(raw.header.flags == .needReply && raw.payload.count == BackendRule.table[message.request]?.payload)
      let read = try BackendMessage.decode(raw)
      #expect(read.request == message.request && read.encoded(needsReply: true) == message.encoded(needsReply: true))
      #expect(read.descriptors.map(\.rawValue) == message.descriptors.map(\.rawValue))
      #expect(
        MessageHeader(request: raw.header.request, size: 0).encoded
          == Array(message.encoded().prefix(8) + [0, 0, 0, 0]))
    }
  }

  @Test("Another size, another number of descriptors and a number that nobody knows are refused by name")
  func refused() throws {
    let more = try EventFD.make()
    for message in try Self.samples() {
      let good = try raw(message)
      var bad = [good, good, good]
      bad[0].payload.append(0)
      bad[1].payload = Array(good.payload.dropLast())
      bad[2].descriptors.append(more)
      if good.payload.isEmpty { bad.remove(at: 1) }
      if !good.descriptors.isEmpty { bad.append(RawMessage(header: good.header, payload: good.payload)) }
      for bad in bad {
        let error = #expect(throws: VhostUserError.self) { try BackendMessage.decode(bad) }
        #expect(error?.request == message.request.description)
      }
    }
    let unknown = RawMessage(header: MessageHeader(request: 11, size: 0))
    #expect(throws: VhostUserError.self) { try BackendMessage.decode(unknown) }
  }

  @Test("Each needs a back-channel and what it is about, and nothing else")
  func negotiated() {
    for (request, rule) in BackendRule.table {
      #expect(rule.negotiated.contains(.backendRequests))
      #expect(rule.refusal(accepted: rule.accepted, protocolFeatures: rule.negotiated) == nil)
      #expect(rule.refusal(accepted: rule.accepted, protocolFeatures: []) != nil, "\(request)")
      if !rule.accepted.isEmpty { #expect(rule.refusal(accepted: [], protocolFeatures: rule.negotiated) != nil) }
    }
  }
}
