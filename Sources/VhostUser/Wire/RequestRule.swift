package import VDPA
package import Virtio

/// What the specification says about one request: the row of a table that decoding and the session go by.
package struct RequestRule: Sendable {
  /// How many bytes the payload may have. The payload's own type checks the rest.
  package enum PayloadSize: Sendable {
    case exactly(Int)
    case between(ClosedRange<Int>)

    package func allows(_ count: Int) -> Bool {
      switch self {
      case .exactly(let size): count == size
      case .between(let sizes): sizes.contains(count)
      }
    }
  }

  /// What the front-end gets for it.
  package enum Answer: Sendable {
    /// A u64, 0 for success, but only if it asks (NEED_REPLY) and REPLY_ACK was negotiated.
    case acknowledgement
    /// A u64, 0 for success, always.
    case result
    /// What it asks for, always: a u64, a vring state, a descriptor. There is no way to say no but to hang up.
    case payload
    /// The configuration of the same size, or an empty payload for failure.
    case configuration
  }

  /// When a request is legal, beside what was negotiated (vhost-user, Ring states).
  package enum Legality: Sendable {
    /// At any time.
    case always
    /// While the ring that it names is stopped.
    case ringStopped
    /// While no ring is started: the device is suspended.
    case suspended
  }

  package typealias Decoder = @Sendable (inout WireReader, [OwnedFD]) throws(VhostUserError) -> FrontendMessage

  package let request: FrontendRequest
  package let payload: PayloadSize
  /// How many descriptors may come along.
  package let descriptors: ClosedRange<Int>
  package let answer: Answer
  /// Features that the back-end must have offered.
  package let offered: Features
  /// Features that the front-end must have accepted.
  package let accepted: Features
  /// Protocol features that must have been negotiated.
  package let negotiated: ProtocolFeatures
  /// Protocol features that put another request in its place.
  package let replacedBy: ProtocolFeatures
  /// In which state of the rings it is legal.
  package let legality: Legality
  private let decoder: Decoder

  package init(
    _ request: FrontendRequest, payload: PayloadSize = .exactly(0), descriptors: ClosedRange<Int> = 0...0,
    answer: Answer = .acknowledgement, offered: Features = [], accepted: Features = [],
    negotiated: ProtocolFeatures = [], replacedBy: ProtocolFeatures = [], legal legality: Legality = .always,
    decoder: @escaping Decoder
  ) {
    self.request = request
    self.payload = payload
    self.descriptors = descriptors
    self.answer = answer
    self.offered = offered
    self.accepted = accepted
    self.negotiated = negotiated
    self.replacedBy = replacedBy
    self.legality = legality
    self.decoder = decoder
  }

  /// The rule of the request in a header.
  ///
  /// - Throws: `.unknownRequest`, naming it, when it is not served.
  package static func rule(for header: MessageHeader) throws(VhostUserError) -> RequestRule {
    guard let request = FrontendRequest(rawValue: header.request), let rule = table[request] else {
      let reason = FrontendRequest(rawValue: header.request).flatMap { refused[$0] }
      throw VhostUserError(.unknownRequest, reason ?? "the specification knows none such")
        .with(request: FrontendRequest.name(of: header.request))
    }
    return rule
  }

  /// Refuses the request where it was not negotiated.
  ///
  /// - Parameters:
  ///   - offered: What the back-end answered to GET_FEATURES.
  ///   - accepted: What the front-end set with SET_FEATURES; empty before that.
  ///   - protocolFeatures: What the front-end set with SET_PROTOCOL_FEATURES; empty before that.
  package func check(
    offered: Features, accepted: Features, protocolFeatures: ProtocolFeatures
  ) throws(VhostUserError) {
    func refuse(_ why: String) -> VhostUserError {
      VhostUserError(.notNegotiated, why).with(request: request.description)
    }
    let notOffered = self.offered.subtracting(offered)
    guard notOffered.isEmpty else { throw refuse("needs feature bits \(notOffered.bits), which were not offered") }
    let notAccepted = self.accepted.subtracting(accepted)
    guard notAccepted.isEmpty else { throw refuse("needs feature bits \(notAccepted.bits), which were not accepted") }
    let notNegotiated = negotiated.subtracting(protocolFeatures)
    guard notNegotiated.isEmpty else { throw refuse("needs \(notNegotiated), which was not negotiated") }
    let replacing = replacedBy.intersection(protocolFeatures)
    guard replacing.isEmpty else { throw refuse("has no place where \(replacing) was negotiated") }
  }

  /// Whether the back-end has to answer success or failure of this message.
  package func wantsAnswer(_ header: MessageHeader, protocolFeatures: ProtocolFeatures) -> Bool {
    switch answer {
    case .acknowledgement: header.flags.contains(.needReply) && protocolFeatures.contains(.replyAck)
    case .result: true
    case .payload, .configuration: false
    }
  }

  /// Decodes and checks a message of this request.
  package func decode(_ message: RawMessage) throws(VhostUserError) -> FrontendMessage {
    do throws(VhostUserError) {
      guard payload.allows(message.payload.count) else {
        throw VhostUserError(.malformed, "a payload of \(message.payload.count) bytes, which it cannot have")
      }
      guard message.descriptors.count <= descriptors.upperBound else {
        throw VhostUserError(
          .tooManyDescriptors, "\(message.descriptors.count) descriptors, \(descriptors.upperBound) at most are legal")
      }
      guard message.descriptors.count >= descriptors.lowerBound else {
        throw VhostUserError(.missingDescriptor, "\(message.descriptors.count) descriptors came along")
      }
      var reader = WireReader(message.payload)
      let decoded = try decoder(&reader, message.descriptors)
      try reader.finish()
      return decoded
    } catch {
      throw error.with(request: request.description)
    }
  }
}
