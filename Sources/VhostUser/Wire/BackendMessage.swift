package import VDPA

/// A back-end's request on the back-channel as a value, its descriptors attached: what this side sends, and what the
/// front-end role takes in.
package enum BackendMessage: Sendable {
  /// A miss, or an access that was not allowed.
  case iotlb(IOTLBPayload)
  case configurationChange
  /// Without a descriptor the doorbell is taken back.
  case vringHostNotifier(VringAreaPayload, descriptor: OwnedFD?)
  case vringCall(index: UInt32)
  case vringError(index: UInt32)
  case sharedObjectAdd(SharedObjectPayload)
  case sharedObjectRemove(SharedObjectPayload)
  case sharedObjectLookup(SharedObjectPayload)
  case sharedMemoryMap(SharedMapPayload, descriptor: OwnedFD)
  case sharedMemoryUnmap(SharedMapPayload)

  /// Which request it is.
  package var request: BackendRequest {
    switch self {
    case .iotlb: .iotlbMessage
    case .configurationChange: .configurationChange
    case .vringHostNotifier: .vringHostNotifier
    case .vringCall: .vringCall
    case .vringError: .vringError
    case .sharedObjectAdd: .sharedObjectAdd
    case .sharedObjectRemove: .sharedObjectRemove
    case .sharedObjectLookup: .sharedObjectLookup
    case .sharedMemoryMap: .sharedMemoryMap
    case .sharedMemoryUnmap: .sharedMemoryUnmap
    }
  }

  /// The bytes on the wire.
  ///
  /// - Parameter needsReply: Whether an answer is wanted (REPLY_ACK).
  package func encoded(needsReply: Bool = false) -> [UInt8] {
    let payload = payload
    return MessageHeader(request: request.rawValue, flags: needsReply ? .needReply : [], size: payload.count).encoded
      + payload
  }

  /// What goes with the first byte.
  package var descriptors: [OwnedFD] {
    switch self {
    case .vringHostNotifier(_, let descriptor): descriptor.map { [$0] } ?? []
    case .sharedMemoryMap(_, let descriptor): [descriptor]
    default: []
    }
  }

  private var payload: [UInt8] {
    switch self {
    case .iotlb(let payload): payload.encoded
    case .configurationChange: []
    case .vringHostNotifier(let payload, _): payload.encoded
    case .vringCall(let index), .vringError(let index): VringStatePayload(index: index).encoded
    case .sharedObjectAdd(let payload), .sharedObjectRemove(let payload), .sharedObjectLookup(let payload):
      payload.encoded
    case .sharedMemoryMap(let payload, _), .sharedMemoryUnmap(let payload): payload.encoded
    }
  }

  /// Finds the message's rule and decodes it by that.
  package static func decode(_ message: RawMessage) throws(VhostUserError) -> BackendMessage {
    try BackendRule.rule(for: message.header).decode(message)
  }
}
