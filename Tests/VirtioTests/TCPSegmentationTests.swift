import NetTestSupport
import Testing

@testable import Virtio

@Suite struct TCPSegmentationTests {
  private let memory = PageEndBytes(capacity: 65664)

  /// The checked meaning of a header that asks for segmentation of a packet.
  private func segmentation(
    _ packet: [UInt8], transport: Int, size: Int, isIPv6: Bool, hasECN: Bool = false
  ) -> TCPSegmentation? {
    let header = NetHeader(
      flags: NetHeader.needsChecksum,
      gsoType: (isIPv6 ? NetHeader.gsoTCPv6 : NetHeader.gsoTCPv4) | (hasECN ? NetHeader.gsoECN : 0),
      gsoSize: UInt16(size), checksumStart: UInt16(transport), checksumOffset: 16)
    guard case .segmentation(let found) = NetOffload(header, frame: packet.span, features: .netHostOffloads) else {
      return nil
    }
    return found
  }

  /// A segment, written where nothing behind it can be touched.
  private func segment(_ index: Int, _ segmentation: TCPSegmentation, of packet: [UInt8]) -> [UInt8] {
    memory.with([UInt8](repeating: 0xee, count: segmentation.length(of: index))) {
      segmentation.write(index, of: packet.span, into: &$0)
    }
  }

  @Test("Segments come out as another implementation builds them", arguments: 0..<GoldenSegmentation.all.count)
  func golden(index: Int) throws {
    let vector = GoldenSegmentation.all[index]
    let packet = GoldenSegmentation.bytes(vector.packet)
    let found = try #require(
      segmentation(
        packet, transport: vector.transport, size: vector.size, isIPv6: vector.isIPv6, hasECN: vector.hasECN))
    #expect(found.count == vector.segments.count && found.hasECN == vector.hasECN)
    #expect(found.headers.payload == vector.headerLength)
    for (i, expected) in vector.segments.enumerated() {
      #expect(segment(i, found, of: packet) == GoldenSegmentation.bytes(expected), "segment \(i)")
    }
    #expect(
      found.header
        == NetHeader(
          flags: 1, gsoType: (vector.isIPv6 ? 4 : 1) | (vector.hasECN ? 0x80 : 0),
          headerLength: UInt16(vector.headerLength), gsoSize: UInt16(vector.size),
          checksumStart: UInt16(vector.transport), checksumOffset: 16))
  }

  /// Frames that differ in all that segmentation has to keep or to change.
  private static let shapes: [TCPFrame] = {
    var shapes: [TCPFrame] = []
    for isIPv6 in [false, true] {
      for tags in 0...2 {
        var frame = TCPFrame(
          isIPv6: isIPv6, tags: tags, flags: TCPFrame.ack | TCPFrame.fin | TCPFrame.psh | TCPFrame.cwr)
        shapes.append(frame)
        frame.tcpOptions = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]
        if isIPv6 {
          frame.extensions = [(next: 0, body: [5, 2, 0, 0, 1, 0]), (next: 60, body: [UInt8](repeating: 0, count: 14))]
        } else {
          frame.ipOptions = [7, 7, 4, 0, 0, 0, 0, 0]
        }
        shapes.append(frame)
      }
    }
    return shapes
  }()

  @Test("Every payload from none to several segments, of every small size, of every shape of packet")
  func small() throws {
    for shape in Self.shapes {
      for size in 1...9 {
        for length in 0...28 {
          var frame = shape
          frame.payload = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 29) }
          let packet = frame.bytes
          let found = try #require(
            segmentation(packet, transport: frame.transport, size: size, isIPv6: frame.isIPv6, hasECN: true))
          let expected = frame.segments(of: size)
          try #require(found.count == expected.count)
          // Backwards: no segment needs the one in front of it.
          for i in (0..<found.count).reversed() {
            let written = segment(i, found, of: packet)
            guard written == expected[i] else {
              Issue.record("segment \(i) of \(length) bytes in \(size)s: \(written) is not \(expected[i])")
              return
            }
          }
        }
      }
    }
  }

  @Test(
    "Segments together are the payload, and all checksums are right", arguments: [false, true], [536, 1447, 1448, 8948])
  func large(isIPv6: Bool, size: Int) throws {
    for payload in [size - 1, size, size + 1, 3 * size, 40_001, 65_475] {
      var frame = TCPFrame(isIPv6: isIPv6, tags: 0, payload: payload, flags: TCPFrame.ack | TCPFrame.psh)
      frame.identification = 0xfff0
      let packet = frame.bytes
      let found = try #require(segmentation(packet, transport: frame.transport, size: size, isIPv6: isIPv6))
      var joined: [UInt8] = []
      var sequence = frame.sequence
      for i in 0..<found.count {
        let written = segment(i, found, of: packet)
        let network = frame.network
        let addresses = isIPv6 ? written[network + 8..<network + 40] : written[network + 12..<network + 20]
        let pseudo = PlainChecksum.pseudoHeader(addresses, next: 6, length: written.count - frame.transport)
        #expect(PlainChecksum.sum(PlainChecksum.word(Int(pseudo)) + written[frame.transport...]) == 0xffff)
        if !isIPv6 { #expect(PlainChecksum.sum(written[network..<network + 20]) == 0xffff) }
        let at = frame.transport + 4
        #expect(written[at..<at + 4].reduce(0 as UInt32) { $0 << 8 | UInt32($1) } == sequence)
        joined += written[frame.headerLength...]
        sequence &+= UInt32(written.count - frame.headerLength)
      }
      #expect(joined == frame.payload)
    }
  }

  @Test("What stands behind the IP packet is no payload")
  func padding() throws {
    let frame = TCPFrame(payload: 10)
    let packet = frame.bytes + [0xaa, 0xbb, 0xcc]
    let found = try #require(segmentation(packet, transport: frame.transport, size: 4, isIPv6: false))
    #expect((0..<found.count).map { segment($0, found, of: packet) } == frame.segments(of: 4))
  }

  @Test("Segments are cut to what a receiver takes; headers that leave no room make none")
  func limits() throws {
    let frame = TCPFrame(payload: 100)
    let packet = frame.bytes
    let found = try #require(segmentation(packet, transport: frame.transport, size: 60, isIPv6: false))
    #expect(found.count == 2 && found.length(of: 0) == 114 && found.length(of: 1) == 94)
    #expect(found.limited(to: 114) == found && found.limited(to: .max) == found)
    let limited = try #require(found.limited(to: 84))
    #expect((0..<limited.count).map { segment($0, limited, of: packet) } == frame.segments(of: 30))
    #expect(found.limited(to: 55)?.count == 100)
    #expect(found.limited(to: 54) == nil && found.limited(to: 0) == nil)
  }
}
