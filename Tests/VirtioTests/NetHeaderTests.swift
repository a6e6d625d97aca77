import NetTestSupport
import Testing

@testable import Virtio

@Suite struct NetHeaderTests {
  private static let bytes: [UInt8] = [0x01, 0x84, 0x36, 0x02, 0xb4, 0x05, 0x22, 0x01, 0x10, 0x03, 0x07, 0x04]
  private static let header = NetHeader(
    flags: 1, gsoType: NetHeader.gsoTCPv6 | NetHeader.gsoECN, headerLength: 0x0236, gsoSize: 1460,
    checksumStart: 0x0122,
    checksumOffset: 0x0310, bufferCount: 0x0407)

  @Test("Every field stands where the standard has it, in both lengths")
  func layout() {
    let modern = NetHeader(decoding: Self.bytes.span, length: NetHeader.modernLength)
    #expect(modern == Self.header)
    let legacy = NetHeader(decoding: Self.bytes.span, length: NetHeader.legacyLength)
    #expect(legacy.bufferCount == 0)
    var expected = Self.header
    expected.bufferCount = 0
    #expect(legacy == expected)
    for length in [NetHeader.legacyLength, NetHeader.modernLength] {
      var bytes = [UInt8](repeating: 0xee, count: 16)
      var span = bytes.mutableSpan
      Self.header.encode(into: &span, length: length)
      #expect(bytes == Self.bytes[..<length] + [UInt8](repeating: 0xee, count: 16 - length))
    }
  }

  @Test("Neither length touches a byte behind it")
  func bounds() {
    let memory = PageEndBytes(capacity: 16)
    for length in [NetHeader.legacyLength, NetHeader.modernLength] {
      let bytes = Array(Self.bytes.prefix(length))
      let result = memory.with(bytes) { span in
        let header = NetHeader(decoding: span.span, length: length)
        NetHeader().encode(into: &span, length: length)
        let isPlain = NetHeader.isPlain(span.span)
        #expect(isPlain)
        header.encode(into: &span, length: length)
      }
      #expect(result == bytes)
    }
  }

  @Test("A header is plain if it asks for nothing: every single bit in front of csum_offset")
  func plain() {
    var bytes = [UInt8](repeating: 0, count: 12)
    func isPlain() -> Bool { NetHeader.isPlain(bytes.span) }
    #expect(isPlain())
    for bit in 0..<96 {
      bytes[bit / 8] = 1 << UInt8(bit % 8)
      #expect(isPlain() == (bit >= 64), "bit \(bit)")
      bytes[bit / 8] = 0
    }
  }

  @Test("Random bytes survive decoding and encoding")
  func roundTrip() {
    var random = SplitMix(seed: 3)
    for _ in 0..<1000 {
      let bytes = (0..<12).map { _ in UInt8.random(in: 0...255, using: &random) }
      var copy = [UInt8](repeating: 0, count: 12)
      var span = copy.mutableSpan
      NetHeader(decoding: bytes.span, length: 12).encode(into: &span, length: 12)
      #expect(copy == bytes)
    }
  }
}
