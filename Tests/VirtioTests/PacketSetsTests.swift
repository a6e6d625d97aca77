import Testing

@testable import Virtio

/// What is done with several packets of a burst at once.
@Suite struct PacketSetsTests {
  /// A burst of packets whose payloads are those bytes.
  private func burst(_ payloads: [[UInt8]], on pool: PacketPool? = nil) -> PacketBurst {
    let burst = pool.map { PacketBurst($0) } ?? PacketBurst()
    burst.setHeaderLength(NetHeader.modernLength)
    for payload in payloads { #expect(burst.append(payload)) }
    return burst
  }

  private func payloads(_ burst: PacketBurst) -> [[UInt8]] {
    (0..<burst.count).map { i in burst.withPayload(of: i) { bytes in bytes.indices.map { bytes[$0] } } }
  }

  @Test(
    "A header is written in front of each packet that is named, and of no other", arguments: [0, 1, 0b1010, 0b1111])
  func headers(packets: UInt64) {
    let burst = burst([[1], [2], [3], [4]])
    burst.setHeader(NetHeader(flags: 2), ofEach: packets)
    #expect((0..<4).map { burst.header(of: $0).flags == 2 } == (0..<4).map { packets >> $0 & 1 == 1 })
    #expect(payloads(burst) == [[1], [2], [3], [4]])
  }

  @Test("The packets that are named are copied in order with their headers, and one that has no room keeps none back")
  func copies() throws {
    let from = burst([[1], [2, 2, 2, 2, 2], [3], [4]])
    from.setHeader(NetHeader(flags: 2), ofEach: 0b100)
    let to = burst([[9]], on: try PacketPool(count: 64, payloadLength: 4))
    to.append(copiesOf: 0b0111, from: from)
    #expect(payloads(to) == [[9], [1], [3]] && to.header(of: 1).flags == 0 && to.header(of: 2).flags == 2)
    #expect(payloads(from) == [[1], [2, 2, 2, 2, 2], [3], [4]])
    to.append(copiesOf: 0, from: from)
    #expect(to.count == 3)
  }

  @Test("A queue takes the packets that are named, in order, as far as it has room; the others stay")
  func queue() throws {
    let pool = try PacketPool(count: 256)
    var queue = PacketQueue(pool, capacity: 3)
    let from = burst([[1], [2], [3], [4], [5], [6]], on: pool)
    #expect(queue.take(0b000010, of: from) == 0)
    #expect(queue.take(0b111001, of: from) == 0b110000)
    #expect(queue.count == 3 && queue.take(0b100000, of: from) == 0b100000 && queue.take(0, of: from) == 0)
    let to = burst([], on: pool)
    #expect(queue.move(to: to, limit: 8) == 3)
    #expect(payloads(to) == [[2], [1], [4]])
    // What is taken is there no more, and is not taken twice.
    #expect(queue.take(0b000011, of: from) == 0b000011 && queue.take(0b110000, of: from) == 0)
  }
}
