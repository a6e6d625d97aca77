import NetTestSupport
import Testing

@testable import Virtio

@Suite struct InternetChecksumTests {
  private let memory = PageEndBytes(capacity: 65536)

  @Test("The sum is that of RFC 1071, for every length and every start")
  func plainModel() {
    var random = SplitMix(seed: 5)
    for length in 0...130 {
      let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      _ = memory.with(bytes) { span in
        for start in 0...min(length, 9) {
          var sum = InternetChecksum()
          sum.add(span.span, start..<length)
          #expect(InternetChecksumTests.same(sum.folded, PlainChecksum.sum(bytes[start...])), "\(start)..<\(length)")
          #expect(sum.checksum == ~sum.folded)
        }
      }
    }
  }

  /// Whether two sums are the same number of ones' complement, which has two zeros.
  private static func same(_ a: UInt16, _ b: UInt16) -> Bool { a % 0xffff == b % 0xffff }

  @Test("The largest packets do not overflow the sum", arguments: [65535, 65534, 65507])
  func largest(length: Int) {
    let bytes = [UInt8](repeating: 0xff, count: length)
    _ = memory.with(bytes) { span in
      var sum = InternetChecksum()
      for _ in 0..<8 { sum.add(span.span, 0..<length & ~1) }
      #expect(sum.folded == 0xffff)
      sum.add(span.span, 0..<length)
      #expect(sum.folded == PlainChecksum.sum(bytes))
    }
  }

  @Test("What is added and taken out again changes nothing, for every number")
  func subtraction() {
    for value in UInt16.min...UInt16.max {
      var sum = InternetChecksum()
      sum.add(0x1234)
      sum.add(value)
      #expect(
        InternetChecksumTests.same(sum.folded, PlainChecksum.sum([0x12, 0x34, UInt8(value >> 8), UInt8(value & 0xff)])))
      sum.subtract(value)
      #expect(sum.folded == 0x1234)
    }
  }

  @Test("Checksums of UDP and TCP come out as another implementation computes them", arguments: GoldenChecksum.all)
  func golden(vector: GoldenChecksum) {
    let complete = GoldenSegmentation.bytes(vector.complete)
    var partial = complete
    let field = vector.start + vector.offset
    partial.replaceSubrange(field..<field + 2, with: PlainChecksum.word(vector.partial))
    #expect(
      memory.with(partial) { InternetChecksum.complete(&$0, start: vector.start, offset: vector.offset) } == complete)
  }

  @Test("Wherever it begins and is stored, the checksum is that of the bytes to the end, and nothing else changes")
  func everywhere() {
    var random = SplitMix(seed: 7)
    for length in 2...40 {
      let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      for start in 0...length - 2 {
        for offset in 0...length - 2 - start {
          let result = memory.with(bytes) { InternetChecksum.complete(&$0, start: start, offset: offset) }
          let sum = ~PlainChecksum.sum(bytes[start...])
          var expected = bytes
          expected.replaceSubrange(
            start + offset..<start + offset + 2, with: PlainChecksum.word(Int(sum == 0 ? 0xffff : sum)))
          #expect(result == expected, "\(start) + \(offset) of \(length)")
        }
      }
    }
  }

  @Test("A checksum of 0 is stored as 0xffff, for 0 says that there is none")
  func zero() {
    #expect(
      memory.with([0xff, 0xff, 0, 0]) { InternetChecksum.complete(&$0, start: 0, offset: 2) }[2...] == [0xff, 0xff])
  }
}
