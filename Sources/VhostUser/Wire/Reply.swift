/// A back-end's answer (vhost-user, Header: the same request, flags exactly version 1 and REPLY).
package struct Reply: Hashable, Sendable {
  package let request: UInt32
  package let payload: [UInt8]

  private init(to header: MessageHeader, payload: [UInt8]) {
    request = header.request
    self.payload = payload
  }

  /// A number.
  package static func value(_ value: UInt64, to header: MessageHeader) -> Reply {
    var writer = WireWriter()
    writer.append(value)
    return Reply(to: header, payload: writer.bytes)
  }

  /// 0 for success, 1 for failure (vhost-user, VHOST_USER_PROTOCOL_F_REPLY_ACK).
  package static func acknowledgement(success: Bool, to header: MessageHeader) -> Reply {
    value(success ? 0 : 1, to: header)
  }

  /// A ring's position.
  package static func vringState(_ state: VringStatePayload, to header: MessageHeader) -> Reply {
    Reply(to: header, payload: state.encoded)
  }

  /// A piece of configuration space, as large as the request's.
  package static func configuration(_ configuration: ConfigurationPayload, to header: MessageHeader) -> Reply {
    Reply(to: header, payload: configuration.encoded)
  }

  /// The empty payload that means failure of GET_CONFIG.
  package static func configurationFailure(to header: MessageHeader) -> Reply {
    Reply(to: header, payload: [])
  }

  /// The bytes on the wire.
  package var encoded: [UInt8] {
    MessageHeader(request: request, flags: .reply, size: payload.count).encoded + payload
  }
}
