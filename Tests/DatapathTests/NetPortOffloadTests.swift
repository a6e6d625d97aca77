import NetTestSupport
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Checksum and segmentation offloads through the rings of a port.
struct NetPortOffloadTests {
  private let burst = PacketBurst()
  private static let formats: [Features] = [[], .packedRing]
  private static let sender: Features = [.version1, .netMergeableBuffers, .netHostOffloads]

  @Test("A large packet comes back as it is to a guest that takes it", arguments: formats)
  func asItIs(format: Features) throws {
    let guest = try RingsUnderTest(features: [Self.sender, .netGuestOffloads, format])
    var port = LoopbackPort()
    let packets = [
      OffloadPacket(TCPFrame(payload: 400), size: 100), OffloadPacket(unfinished: TCPFrame(isIPv6: true, payload: 31)),
      OffloadPacket(TCPFrame(isIPv6: true, payload: 300), size: 99),
    ]
    guest.offer(3)
    guest.send(packets)
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 3)
    #expect(try guest.receivedPackets() == packets)
  }

  @Test(
    "To a guest that takes no large packets they come back in segments, however few buffers it gives at a time",
    arguments: formats, 1...8)
  func segments(format: Features, room: Int) throws {
    let guest = try RingsUnderTest(features: [Self.sender, format])
    var port = LoopbackPort()
    let large = [TCPFrame(payload: 400, flags: TCPFrame.ack | TCPFrame.psh), TCPFrame(isIPv6: true, payload: 333)]
    let small = TCPFrame(payload: 10)
    let expected = large[0].segments(of: 60) + [small.complete] + large[1].segments(of: 50)
    guest.send([
      OffloadPacket(large[0], size: 60), OffloadPacket(unfinished: small), OffloadPacket(large[1], size: 50),
    ])
    var received: [OffloadPacket] = []
    for _ in 0..<expected.count where received.count < expected.count {
      guest.offer(room)
      for _ in 0..<4 { _ = port.serve(&guest.receive, &guest.transmit, burst) }
      let more = try guest.receivedPackets()
      #expect(more.count == min(room, expected.count - received.count))
      received += more
    }
    #expect(received.map(\.frame) == expected)
    #expect(received.allSatisfy { $0.header == NetHeader() })
    #expect(try guest.returned() == 3)
    #expect(guest.transmit?.counters.snapshot.dropped == 0)
  }

  @Test("A packet whose header is wrong is dropped and counted, and holds up nobody", arguments: formats)
  func invalid(format: Features) throws {
    let guest = try RingsUnderTest(features: [Self.sender, .netGuestOffloads, format])
    var wrong = OffloadPacket(TCPFrame(payload: 100), size: 0)
    wrong.header.gsoSize = 0
    var outside = OffloadPacket(unfinished: TCPFrame(payload: 20))
    outside.header.checksumStart = 500
    let right = OffloadPacket(unfinished: TCPFrame(payload: 20))
    for (port, answers) in [(LoopbackPort() as any NetPort, [right, right]), (SinkPort(), []), (EchoPort(), [])] {
      var port = port
      let before = guest.transmit?.counters.snapshot.dropped ?? 0
      guest.offer(2)
      guest.send([wrong, right, outside, right])
      for _ in 0..<3 { _ = port.serve(&guest.receive, &guest.transmit, burst) }
      #expect(try guest.receivedPackets() == answers)
      let counters = guest.transmit?.counters.snapshot
      #expect(counters?.dropped == before + 2 && counters?.invalidHeaders == before + 2)
      #expect(counters?.packets == before + 2)
      #expect(try guest.returned() == 4)
    }
  }
}
