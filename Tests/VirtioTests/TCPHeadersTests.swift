import NetTestSupport
import Testing

@testable import Virtio

@Suite struct TCPHeadersTests {
  private let memory = PageEndBytes(capacity: 65664)

  private func walk(_ frame: [UInt8], isIPv6: Bool = false) -> (found: TCPHeaders?, fault: NetHeaderFault?) {
    var result: (TCPHeaders?, NetHeaderFault?) = (nil, nil)
    _ = memory.with(frame) { span in
      switch TCPHeaders.walk(span.span, isIPv6: isIPv6) {
      case .found(let headers): result = (headers, nil)
      case .fault(let fault): result = (nil, fault)
      }
    }
    return result
  }

  /// Real frames of every kind that is understood.
  static let frames: [TCPFrame] = {
    var options = TCPFrame(tags: 1, payload: 30)
    options.ipOptions = [7, 7, 4, 0, 0, 0, 0, 0]
    options.tcpOptions = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]
    var extensions = TCPFrame(isIPv6: true, tags: 2, payload: 30)
    extensions.extensions = [
      (next: 0, body: [5, 2, 0, 0, 1, 0]), (next: 43, body: [0, 0, 0, 0, 0, 0]),
      (next: 60, body: [UInt8](repeating: 0, count: 14)),
    ]
    extensions.tcpOptions = [UInt8](repeating: 1, count: 40)
    return [TCPFrame(payload: 30), options, TCPFrame(isIPv6: true, payload: 30), extensions]
  }()

  @Test("The headers are found where they are", arguments: 0..<frames.count)
  func found(index: Int) {
    let frame = Self.frames[index]
    let bytes = frame.bytes
    #expect(
      walk(bytes + [0, 0], isIPv6: frame.isIPv6).found
        == TCPHeaders(
          network: frame.network, transport: frame.transport, payload: frame.headerLength, end: bytes.count,
          isIPv6: frame.isIPv6))
    #expect(walk(bytes, isIPv6: !frame.isIPv6).fault == .notTCP)
  }

  @Test("A frame that ends early is a fault, wherever it ends", arguments: 0..<frames.count)
  func truncated(index: Int) {
    let frame = Self.frames[index]
    let bytes = frame.bytes
    for count in 0..<bytes.count {
      #expect(walk(Array(bytes.prefix(count)), isIPv6: frame.isIPv6).fault == .headerLength, "\(count) bytes")
    }
  }

  @Test("Whatever a byte of the headers says, what is found lies in the frame", arguments: 0..<frames.count)
  func everyByte(index: Int) {
    let frame = Self.frames[index]
    let bytes = frame.bytes
    for offset in 0..<frame.headerLength {
      for value in UInt8.min...UInt8.max {
        var changed = bytes
        changed[offset] = value
        guard let found = walk(changed, isIPv6: frame.isIPv6).found else { continue }
        guard found.network >= 14, found.transport >= found.network + (frame.isIPv6 ? 40 : 20),
          found.payload >= found.transport + 20, found.end >= found.payload, found.end <= changed.count
        else {
          Issue.record("byte \(offset) = \(value): \(found)")
          return
        }
      }
    }
  }

  @Test("Lengths of IPv4 that cannot be right are faults")
  func lengthsOfIPv4() {
    var frame = TCPFrame()
    frame.payload = [UInt8](repeating: 0, count: 30)
    let bytes = frame.bytes
    for length in 0...0xffff {
      var changed = bytes
      changed.replaceSubrange(16..<18, with: PlainChecksum.word(length))
      #expect(walk(changed).fault == (length < 40 || length > 70 ? .headerLength : nil), "\(length)")
    }
    for words in 0...15 {
      var changed = bytes
      changed[14] = 0x40 | UInt8(words)
      // With options the TCP header is looked for further behind, where its length is 0.
      let expected: NetHeaderFault? = words == 5 ? nil : .headerLength
      #expect(walk(changed).fault == expected, "\(words)")
      changed = bytes
      changed[46] = UInt8(words) << 4
      #expect(walk(changed).fault == (words < 5 || words > 12 ? .headerLength : nil), "\(words)")
    }
  }

  @Test("Lengths of IPv6 that cannot be right are faults")
  func lengthsOfIPv6() {
    let bytes = TCPFrame(isIPv6: true, payload: 30).bytes
    for length in 0...0xffff {
      var changed = bytes
      changed.replaceSubrange(18..<20, with: PlainChecksum.word(length))
      #expect(walk(changed, isIPv6: true).fault == (length < 20 || length > 50 ? .headerLength : nil), "\(length)")
    }
  }

  @Test("What is not a whole TCP packet is a fault: other protocols, fragments, too many tags, other versions")
  func notTCP() {
    let bytes = TCPFrame(payload: 30).bytes
    func fault(_ changes: (Int, UInt8)..., of frame: [UInt8], isIPv6: Bool = false) -> NetHeaderFault? {
      var changed = frame
      for (offset, value) in changes { changed[offset] = value }
      return walk(changed, isIPv6: isIPv6).fault
    }
    for next in UInt8.min...UInt8.max where next != 6 { #expect(fault((23, next), of: bytes) == .notTCP) }
    // More fragments, and every bit of the offset; not the bit that forbids fragments, and not the reserved one.
    for bit in 0..<16 {
      let value = 1 << bit
      #expect(
        fault((20, UInt8(value >> 8)), (21, UInt8(value & 0xff)), of: bytes) == (bit < 14 ? .notTCP : nil), "bit \(bit)"
      )
    }
    for version in UInt8(0)...15 where version != 4 {
      #expect(fault((14, version << 4 | 5), of: bytes) == .notTCP)
    }
    #expect(walk(TCPFrame(tags: 3, payload: 30).bytes).fault == .notTCP)
    let bytes6 = TCPFrame(isIPv6: true, payload: 30).bytes
    for version in UInt8(0)...15 where version != 6 {
      #expect(fault((14, version << 4), of: bytes6, isIPv6: true) == .notTCP)
    }
    for next in UInt8.min...UInt8.max where ![0, 6, 43, 60].contains(next) {
      #expect(fault((20, next), of: bytes6, isIPv6: true) == .notTCP, "\(next)")
    }
  }

  @Test("The walk over extension headers is bounded, and ends at the end of the packet")
  func extensions() {
    var frame = TCPFrame(isIPv6: true, payload: 8)
    for count in 0...12 {
      frame.extensions = Array(repeating: (next: 60, body: [0, 0, 0, 0, 0, 0]), count: count)
      let result = walk(frame.bytes, isIPv6: true)
      #expect(result.found?.transport == (count <= 8 ? frame.transport : nil))
      #expect(result.fault == (count <= 8 ? nil : .notTCP))
    }
    frame.extensions = [(next: 60, body: [0, 0, 0, 0, 0, 0])]
    for length in UInt8.min...UInt8.max {
      var changed = frame.bytes
      changed[55] = length
      #expect(walk(changed, isIPv6: true).fault == (length == 0 ? nil : .headerLength), "\(length)")
    }
  }
}
