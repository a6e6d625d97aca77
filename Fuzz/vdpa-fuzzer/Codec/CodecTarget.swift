internal import CLinux
internal import SystemPackage
internal import VDPA
internal import VhostUser

/// The wire codec in both directions: bytes in pieces of any length become messages, messages become values.
///
/// Byte 0 says who is listening, byte 4 into what pieces the bytes are cut, bytes 6 and 7 which messages have how many
/// descriptors; records are bytes, of the last of which byte 1 takes some off.
struct CodecTarget: FuzzTarget {
  private enum Direction: Int {
    /// A back-end takes in requests, then values.
    case frontend, backend
    /// Either side takes in answers, of which only the header is known.
    case answers
  }

  /// A descriptor that is seen to go.
  private final class Witness {
    weak var descriptor: OwnedFD?
    init(_ descriptor: OwnedFD) { self.descriptor = descriptor }
  }

  private let file: OwnedFD

  init() throws { file = try EventFD.make() }

  func run(_ input: FuzzInput) {
    let direction = Direction(rawValue: Int(input.layout) % 3) ?? .frontend
    var bytes = input.records.flatMap(\.bytes)
    bytes.removeLast(min(Int(input.size) % Record.size, bytes.count))
    var parser = MessageParser(expecting: direction == .answers ? .reply : .request)
    var witnesses: [Witness] = []
    var (offset, taken, number) = (0, 0, 0)
    while offset < bytes.count {
      let wanted = parser.wanted
      Oracle.require(wanted > 0 && wanted <= MessageHeader.maximumPayload, "\(wanted) bytes are wanted")
      let cut = input.position == 0 ? wanted : 1 + (Int(input.position) &+ offset) % 37
      let piece = Array(bytes[offset..<offset + min(wanted, cut, bytes.count - offset)])
      // Two bits a message; 3 stands for one more than there may be, or for descriptors that come late.
      let code = Int(input.lag >> UInt16(2 * (number % 8))) & 3
      var attached: [OwnedFD] = []
      if !parser.isInMessage || code == 3 && number % 2 == 1 {
        for _ in 0..<(code == 3 ? MessageParser.maximumDescriptors + 1 - number % 2 : code) {
          guard let copy = try? file.duplicate() else { Oracle.fail("there are no descriptors left") }
          attached.append(copy)
          witnesses.append(Witness(copy))
        }
      }
      offset += piece.count
      do throws(VhostUserError) {
        guard let message = try parser.append(piece, descriptors: attached) else { continue }
        check(message, against: Array(bytes[taken..<offset]), direction)
        (taken, number) = (offset, number + 1)
      } catch {
        // The stream is over.
        require(named: error)
        break
      }
    }
    parser = MessageParser(expecting: .request)
    Oracle.require(witnesses.allSatisfy { $0.descriptor == nil }, "a descriptor is kept by nobody knows whom")
  }

  private func check(_ message: RawMessage, against bytes: [UInt8], _ direction: Direction) {
    Oracle.require(
      message.header.encoded + message.payload == bytes, "a message is not the bytes that it was put together from")
    Oracle.require(message.header.flags.contains(.reply) == (direction == .answers), "a message of the other direction")
    switch direction {
    case .answers: return
    case .frontend:
      guard let value = value({ () throws(VhostUserError) in try FrontendMessage.decode(message) }) else { return }
      Oracle.require(value.request.rawValue == message.header.request, "\(value.request) for \(message.header.request)")
      Oracle.require(
        value.attached.count == message.descriptors.count || value.request == .removeMemoryRegion,
        "\(value.request) has \(value.attached.count) of \(message.descriptors.count) descriptors")
      guard let encoded = value.payload else { return }
      require(encoded, message.payload, padding: value.request.padding, value.request)
    case .backend:
      guard let value = value({ () throws(VhostUserError) in try BackendMessage.decode(message) }) else { return }
      Oracle.require(value.request.rawValue == message.header.request, "\(value.request) for \(message.header.request)")
      Oracle.require(value.descriptors.count == message.descriptors.count, "\(value.request) has lost descriptors")
      let encoded = value.encoded(needsReply: message.header.flags.contains(.needReply))
      Oracle.require(
        Array(encoded.prefix(MessageHeader.byteCount)) == message.header.encoded, "another header for \(value.request)")
      require(
        Array(encoded.dropFirst(MessageHeader.byteCount)), message.payload, padding: value.request.padding,
        value.request)
    }
  }

  /// What a message becomes; nil when it is refused, which has to be by its name.
  private func value<Value>(_ decode: () throws(VhostUserError) -> Value) -> Value? {
    do throws(VhostUserError) {
      return try decode()
    } catch {
      require(named: error)
      Oracle.require(error.request != nil, "a message is refused without its name: \(error)")
      return nil
    }
  }

  private func require(named error: VhostUserError) {
    Oracle.require(!error.message.isEmpty && !error.description.isEmpty, "a refusal without a reason")
  }

  /// What was decoded has to be what was there, but for bytes that mean nothing.
  private func require(
    _ encoded: [UInt8], _ payload: [UInt8], padding: Range<Int>, _ request: some CustomStringConvertible
  ) {
    var meaning = payload
    for i in padding where i < meaning.count { meaning[i] = 0 }
    // A table may have room for more regions than it has.
    if encoded.count < meaning.count, request is FrontendRequest { meaning.removeLast(meaning.count - encoded.count) }
    Oracle.require(encoded == meaning, "\(request) of \(payload) has become \(encoded)")
  }
}
