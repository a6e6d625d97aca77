package import VDPA

/// A back-end's answer (vhost-user, Header: the same request, flags exactly version 1 and REPLY).
package struct Reply: Sendable {
  package let request: UInt32
  package let payload: [UInt8]
  /// What goes with the first byte.
  package let descriptors: [OwnedFD]

  /// Bytes as they are; with none it is an empty answer.
  package init(to header: MessageHeader, payload: [UInt8] = [], descriptors: [OwnedFD] = []) {
    request = header.request
    self.payload = payload
    self.descriptors = descriptors
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

  /// The bytes on the wire.
  package var encoded: [UInt8] {
    MessageHeader(request: request, flags: .reply, size: payload.count).encoded + payload
  }
}
