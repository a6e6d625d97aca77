import NetTestSupport
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A switch between guests that do not leave the same things to the device.
struct SwitchOffloadTests {
  private static let formats: [Features] = [[], .packedRing]

  /// A guest that sends with all offloads, and one with those features.
  private func pair(
    _ receiver: Features, receiveLength: Int = 0x1_1000, configuration: NetConfiguration? = nil
  ) throws -> (SwitchedGuest, SwitchedGuest) {
    let network = try Switch("lan")
    let sender = try SwitchedGuest(network, "vm1", features: FrameGuest.offloading)
    let guest = try SwitchedGuest(
      network, "vm2", features: receiver, receiveLength: receiveLength, configuration: configuration)
    guest.guest.offer()
    return (sender, guest)
  }

  private static let large = [
    TCPFrame(payload: 40_000, flags: TCPFrame.ack | TCPFrame.psh | TCPFrame.cwr),
    TCPFrame(isIPv6: true, payload: 30_011),
  ]
  private static let small = TCPFrame(tags: 1, payload: 33)

  private static let sent = [
    OffloadPacket(large[0], size: 1460), OffloadPacket(unfinished: small), OffloadPacket(large[1], size: 1440),
  ]

  @Test("Between two guests that take everything packets go as they are", arguments: formats)
  func asItIs(format: Features) throws {
    let (sender, receiver) = try pair([FrameGuest.offloading, format])
    sender.guest.send(Self.sent)
    sender.turn()
    receiver.turn()
    var expected = Self.sent
    // The flag in the packet is said in the header too.
    expected[0].header.gsoType |= NetHeader.gsoECN
    #expect(try receiver.guest.receive() == expected)
  }

  @Test(
    "A guest that has negotiated nothing gets segments with all checksums, whatever its header's length and its buffers'",
    arguments: [FrameGuest.plain, [.version1, .packedRing], [.netMergeableBuffers], []] as [Features], [0x1_1000, 700])
  func segments(features: Features, receiveLength: Int) throws {
    // Without mergeable buffers each has to hold a frame.
    let length = features.contains(.netMergeableBuffers) ? receiveLength : max(receiveLength, 1600)
    let (sender, receiver) = try pair(features, receiveLength: length)
    sender.guest.send(Self.sent)
    sender.turn()
    var received: [OffloadPacket] = []
    for _ in 0..<20 {
      receiver.turn()
      received += try receiver.guest.receive()
      receiver.guest.offer()
    }
    let expected = Self.large[0].segments(of: 1460) + [Self.small.complete] + Self.large[1].segments(of: 1440)
    #expect(received.map(\.frame) == expected)
    #expect(received.allSatisfy { $0.header == NetHeader() })
    #expect(receiver.pairs[0].receive.counters.snapshot.dropped == 0)
  }

  @Test("A flood reaches unlike guests in the form that each takes")
  func flood() throws {
    let network = try Switch("lan")
    let sender = try SwitchedGuest(network, "vm1", features: FrameGuest.offloading)
    let features: [Features] = [FrameGuest.offloading, FrameGuest.plain, FrameGuest.offloading, []]
    let receivers = try features.enumerated().map { try SwitchedGuest(network, "vm\($0 + 2)", features: $1) }
    for receiver in receivers { receiver.guest.offer() }
    let packet = OffloadPacket(unfinished: Self.small)
    sender.guest.send([packet])
    sender.turn()
    for (receiver, features) in zip(receivers, features) {
      receiver.turn()
      let expected = features.contains(.netGuestChecksum) ? packet : OffloadPacket(whole: Self.small.complete)
      #expect(try receiver.guest.receive() == [expected])
    }
  }

  @Test("A receiver's MTU is kept: large packets are cut smaller, what cannot be cut is dropped and counted")
  func mtu() throws {
    let configuration = NetConfiguration(mac: .zero, mtu: 1000)
    let (sender, receiver) = try pair(FrameGuest.plain.union(.netMTU), configuration: configuration)
    let most = configuration.frameLength
    let tooLong = TestFrame.make(to: TestFrame.broadcast, from: TestFrame.address(1), length: most + 1)
    let fits = TestFrame.make(to: TestFrame.broadcast, from: TestFrame.address(1), length: most)
    sender.guest.send([OffloadPacket(TCPFrame(payload: 5000), size: 1460), OffloadPacket(whole: tooLong)])
    sender.guest.send([fits])
    sender.turn()
    let frames = try receiver.frames()
    let size = configuration.frameLength - TCPFrame().headerLength
    #expect(frames == TCPFrame(payload: 5000).segments(of: size) + [fits])
    #expect(receiver.pairs[0].receive.counters.snapshot.dropped == 1)
  }

  @Test("What a header asks for wrongly is dropped at its sender's ring; what stands in unused fields reaches nobody")
  func hostileHeaders() throws {
    let (sender, receiver) = try pair(FrameGuest.offloading)
    var zero = OffloadPacket(TCPFrame(payload: 100), size: 0)
    zero.header.gsoSize = 0
    var outside = OffloadPacket(unfinished: TCPFrame(payload: 20))
    outside.header.checksumStart = 5000
    var unused = OffloadPacket(whole: TestFrame.make(to: TestFrame.broadcast, from: TestFrame.address(1)))
    unused.header.checksumOffset = 0xbeef
    unused.header.bufferCount = 0xdead
    let right = OffloadPacket(unfinished: TCPFrame(payload: 20))
    sender.guest.send([zero, unused, outside, right])
    sender.turn()
    receiver.turn()
    var clean = unused
    clean.header = NetHeader()
    #expect(try receiver.guest.receive() == [clean, right])
    let counters = sender.pairs[0].transmit.counters.snapshot
    #expect(counters.invalidHeaders == 2 && counters.dropped == 2 && counters.packets == 2)
    #expect(sender.counters.received == 2)
  }
}
