package import VDPA

/// Puts messages together from whatever pieces a stream comes in.
///
/// It says how many bytes it wants next and must not be given more: so no byte and no descriptor of the message after
/// this one is ever taken off the socket. Nothing is allocated for a payload before its header has been checked.
package struct MessageParser {
  /// The most descriptors of one message (vhost-user, Communication).
  package static let maximumDescriptors = 8

  private let kind: MessageKind
  private var header: MessageHeader?
  private var bytes: [UInt8] = []
  private var descriptors: [OwnedFD] = []

  package init(expecting kind: MessageKind) {
    self.kind = kind
  }

  /// Bytes that are missing of the header, or of the payload once there is a header. Never 0.
  package var wanted: Int { (header?.size ?? MessageHeader.byteCount) - bytes.count }

  /// Whether the stream may not end here.
  package var isInMessage: Bool { header != nil || !bytes.isEmpty }

  /// Takes the next piece.
  ///
  /// - Parameters:
  ///   - piece: From 1 to ``wanted`` bytes.
  ///   - attached: The descriptors that came with it.
  /// - Returns: The message that this piece completes.
  /// - Throws: For a header that is not legal, and for descriptors anywhere but at the beginning.
  package mutating func append(
    _ piece: [UInt8], descriptors attached: [OwnedFD] = []
  ) throws(VhostUserError) -> RawMessage? {
    precondition(!piece.isEmpty && piece.count <= wanted)
    if !attached.isEmpty {
      guard !isInMessage else {
        throw error(.malformed, "descriptors came in the middle of a message")
      }
      guard attached.count <= MessageParser.maximumDescriptors else {
        throw error(.tooManyDescriptors, "more than \(MessageParser.maximumDescriptors) descriptors with one message")
      }
      descriptors = attached
    }
    bytes += piece
    if header == nil {
      guard bytes.count == MessageHeader.byteCount else { return nil }
      let header = try MessageHeader(decoding: bytes)
      try header.check(is: kind)
      self.header = header
      bytes = []
      bytes.reserveCapacity(header.size)
    }
    guard let header, bytes.count == header.size else { return nil }
    defer { self = MessageParser(expecting: kind) }
    return RawMessage(header: header, payload: bytes, descriptors: descriptors)
  }

  private func error(_ code: VhostUserError.Code, _ message: String) -> VhostUserError {
    let error = VhostUserError(code, message)
    guard let header else { return error }
    return error.with(request: FrontendRequest.name(of: header.request))
  }
}
