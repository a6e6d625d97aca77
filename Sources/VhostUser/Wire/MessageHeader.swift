/// The twelve bytes before every payload (vhost-user, Header).
package struct MessageHeader: Payload {
  /// The flags field without the version.
  package struct Flags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// This is an answer.
    package static let reply = Flags(rawValue: 1 << 2)
    /// The sender wants an answer, if REPLY_ACK was negotiated.
    package static let needReply = Flags(rawValue: 1 << 3)
  }

  /// Bytes of a header.
  package static let byteCount = 12
  /// The largest payload taken, in bytes; the specification's largest, SHMEM_CONFIG, has 2056.
  package static let maximumPayload = 4096
  private static let version: UInt32 = 1
  private static let versionMask: UInt32 = 3

  /// The request's number, as it came.
  package var request: UInt32
  package var flags: Flags
  /// Bytes of payload that follow.
  package var size: Int

  package init(request: UInt32, flags: Flags = [], size: Int) {
    self.request = request
    self.flags = flags
    self.size = size
  }

  /// Decodes and checks version, flags and size, whatever the direction.
  package init(from reader: inout WireReader) throws(VhostUserError) {
    let (request, flags, size) = (try reader.u32(), try reader.u32(), try reader.u32())
    func refuse(_ why: String) -> VhostUserError {
      VhostUserError(.malformed, why).with(request: FrontendRequest.name(of: request))
    }
    guard flags & MessageHeader.versionMask == MessageHeader.version else {
      throw refuse("protocol version \(flags & MessageHeader.versionMask) instead of 1")
    }
    let known: Flags = [.reply, .needReply]
    guard flags & ~(MessageHeader.versionMask | known.rawValue) == 0 else {
      throw refuse("reserved header flags are set: 0x\(String(flags, radix: 16))")
    }
    guard size <= UInt32(MessageHeader.maximumPayload) else {
      throw refuse("a payload of \(size) bytes, more than the \(MessageHeader.maximumPayload) that are taken")
    }
    self.request = request
    self.flags = Flags(rawValue: flags & ~MessageHeader.versionMask)
    self.size = Int(size)
  }

  /// Refuses a header of the other direction.
  package func check(is kind: MessageKind) throws(VhostUserError) {
    guard flags.contains(.reply) == (kind == .reply) else {
      throw VhostUserError(
        .malformed, kind == .reply ? "a request where a reply is due" : "a reply where a request is due"
      ).with(request: FrontendRequest.name(of: request))
    }
  }

  package func write(to writer: inout WireWriter) {
    writer.append(request)
    writer.append(flags.rawValue | MessageHeader.version)
    writer.append(UInt32(size))
  }
}
