import Testing
import VhostUser

struct ReplyTests {
  /// NEED_REPLY of the request must not come back: QEMU takes flags of 0x5 only.
  private let header = MessageHeader(request: 24, flags: .needReply, size: 14)

  @Test func value() {
    #expect(Reply.value(0x1122_3344_5566_7788, to: header).encoded == u32(24, 5, 8) + u64(0x1122_3344_5566_7788))
  }

  @Test func acknowledgement() {
    #expect(Reply.acknowledgement(success: true, to: header).encoded == u32(24, 5, 8) + u64(0))
    #expect(Reply.acknowledgement(success: false, to: header).encoded == u32(24, 5, 8) + u64(1))
  }

  @Test func payloads() {
    let state = VringStatePayload(index: 2, number: 0x1234)
    #expect(Reply(to: header, payload: state.encoded).encoded == u32(24, 5, 8) + u32(2, 0x1234))
    let piece = ConfigurationPayload(offset: 0, bytes: [7, 9])
    #expect(Reply(to: header, payload: piece.encoded).encoded == u32(24, 5, 14) + u32(0, 2, 0) + [7, 9])
    #expect(Reply(to: header).encoded == u32(24, 5, 0))
  }
}
