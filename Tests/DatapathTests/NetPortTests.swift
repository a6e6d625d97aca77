import Testing
import VDPA
import Virtio

@testable import Datapath

/// The ports on rings of their own, burst by burst.
struct NetPortTests {
  private let burst = PacketBurst()

  @Test("Loopback takes only what it can give back, keeps the rest in the ring, and keeps the order")
  func loopbackNeverDrops() throws {
    let guest = try RingsUnderTest()
    var port = LoopbackPort()
    guest.send([1, 2, 3, 4, 5, 6, 7, 8])
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 0)
    #expect(try guest.returned() == 0)
    guest.offer(3)
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 3)
    #expect(try guest.received() == [1, 2, 3])
    #expect(try guest.returned() == 3)
    guest.offer(2)
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 2)
    guest.offer(3)
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 3)
    #expect(try guest.received() == [4, 5, 6, 7, 8])
    #expect(try guest.returned() == 5)
    #expect(guest.receive?.counters.snapshot.packets == 8)
    #expect(guest.transmit?.counters.snapshot.packets == 8)
    #expect(guest.transmit?.counters.snapshot.dropped == 0)
  }

  @Test("Loopback waits while the receive ring is disabled")
  func loopbackWaitsForTheReceiveRing() throws {
    let guest = try RingsUnderTest()
    var port = LoopbackPort()
    guest.receive?.isEnabled = false
    guest.offer(4)
    guest.send([1])
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 0)
    guest.receive?.isEnabled = true
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 1)
    #expect(try guest.received() == [1])
  }

  @Test("A packet that no buffer of this guest can hold is dropped and counted, and does not block those behind it")
  func loopbackPassesOverWhatFitsNowhere() throws {
    let guest = try RingsUnderTest(features: [.version1], receiveLength: 12)
    var port = LoopbackPort()
    guest.offer(8)
    guest.send([1, 2])
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 2)
    #expect(try guest.received() == [])
    #expect(try guest.returned() == 2)
    #expect(guest.receive?.counters.snapshot.oversized == 2)
    #expect(guest.receive?.counters.snapshot.dropped == 2)
  }

  @Test("Sink takes everything")
  func sink() throws {
    let guest = try RingsUnderTest()
    var port = SinkPort()
    guest.send([1, 2, 3])
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 3)
    #expect(try guest.returned() == 3)
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 0)
  }

  @Test("Source fills what buffers there are, drops what is sent, and comes to an end")
  func source() throws {
    let guest = try RingsUnderTest()
    var port = SourcePort(length: 64)
    guest.offer(5)
    guest.send([1])
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 6)
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 0)
    #expect(try guest.received().count == 5)
    #expect(try guest.returned() == 1)
  }

  @Test("Source does not work for ever on buffers into which nothing fits")
  func sourceAndShortBuffers() throws {
    let guest = try RingsUnderTest(features: [.version1], receiveLength: 64)
    var port = SourcePort(length: 64)
    guest.offer(8)
    #expect(port.serve(&guest.receive, &guest.transmit, burst) == 0)
    #expect(try guest.received() == [])
  }
}
