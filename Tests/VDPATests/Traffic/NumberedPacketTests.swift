import Testing
import VDPA

struct NumberedPacketTests {
  private static let packets = [60, 61, 67, 68, 1514].map {
    NumberedPacket(pair: UInt16($0 % 7), number: UInt64($0) << 20, time: 1 << 60 | 5, length: $0)
  }

  @Test("A frame is read as the packet that it was made of", arguments: packets)
  func roundTrip(packet: NumberedPacket) {
    #expect(packet.encoded.count == packet.length)
    #expect(NumberedPacket.decode(packet.encoded) == .intact(packet))
  }

  @Test("No bit of a frame can change unseen", arguments: packets)
  func everyBit(packet: NumberedPacket) {
    var frame = packet.encoded
    for bit in 0..<8 * frame.count {
      frame[bit / 8] ^= 1 << UInt8(bit % 8)
      switch NumberedPacket.decode(frame) {
      case .intact: Issue.record("bit \(bit)")
      case .damaged(let found): #expect(found == packet)
      case .unknown: #expect((14 * 8..<44 * 8).contains(bit))
      }
      frame[bit / 8] ^= 1 << UInt8(bit % 8)
    }
  }

  @Test("A frame of another length is damaged, and one without its numbers is nobody's", arguments: packets)
  func lengths(packet: NumberedPacket) {
    #expect(NumberedPacket.decode(packet.encoded + [0]) == .damaged(packet))
    for count in 0..<packet.length {
      let wanted: NumberedPacket.Decoded = count < 44 ? .unknown : .damaged(packet)
      #expect(NumberedPacket.decode(Array(packet.encoded.prefix(count))) == wanted)
    }
    #expect(NumberedPacket.decode(Array(repeating: 0, count: 100)) == .unknown)
  }

  @Test("The content of no packet is that of another")
  func distinct() {
    var contents: Set<[UInt8]> = []
    for pair in 0..<8 as Range<UInt16> {
      for number in 0..<200 as Range<UInt64> {
        contents.insert(Array(NumberedPacket(pair: pair, number: number, time: 0, length: 64).encoded[44...]))
      }
    }
    #expect(contents.count == 1600)
  }
}
