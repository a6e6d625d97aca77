internal import VDPA
internal import VhostUser
internal import Virtio

/// The front-end's end of a back-channel: what comes has to be whole requests that were negotiated.
struct BackChannelReader {
  private var socket: OwnedFD?
  private var parser = MessageParser(expecting: .request)

  /// Reads what is there.
  ///
  /// - Parameters:
  ///   - value: What it answers to those who want an answer.
  ///   - isWrong: Whether it answers to what was not asked.
  mutating func read(_ current: OwnedFD?, answering value: UInt64, isWrong: Bool, view: SessionRun.View) {
    if socket !== current {
      socket = current
      parser = MessageParser(expecting: .request)
    }
    guard let socket else { return }
    while let received = try? StreamSocket.receive(socket, atMost: parser.wanted, descriptors: 8),
      !received.bytes.isEmpty
    {
      do throws(VhostUserError) {
        guard let message = try parser.append(received.bytes, descriptors: received.descriptors) else { continue }
        let decoded = try BackendMessage.decode(message)
        let needsReply = message.header.flags.contains(.needReply)
        guard needsReply || decoded.request == .sharedObjectLookup else { continue }
        var header = message.header
        if isWrong { header.request ^= 1 }
        _ = try? StreamSocket.send(socket, Reply.value(value, to: header).encoded[...], descriptors: [])
      } catch {
        Oracle.fail("what comes on the back-channel is no request: \(error)")
      }
    }
  }
}
