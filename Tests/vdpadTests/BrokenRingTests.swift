import CLinux
import FrontEndTestSupport
import Glibc
import Peers
import Testing
import VDPA
import VhostUser
import Virtio

/// Rings that no correct driver writes, of both formats and on both datapaths: the ring is broken and says so, the other
/// queue pair goes on, and so does the broken one once it has been stopped and started again.
@Suite(.serialized)
struct BrokenRingTests {
  private static let engines = [[], ["--engine", "simulator"]]

  @Test(
    "A broken ring is reported and left alone; the others go on", arguments: engines, RingLayout.Format.allCases)
  func faults(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(["--queues", "2"] + engine)
      let idle = try daemon.settledHoldings()
      try behaveWell(at: daemon.path, queues: 2, format: format)
      for fault in Fault.all(format) {
        let name = Comment(rawValue: "\(fault.name), \(format) \(engine)")
        let guest = try Guest(queues: 2, format: format, features: fault.features)
        let frontEnd = try RawFrontEnd(path: daemon.path)
        try guest.run(with: frontEnd)
        let mark = daemon.process.mark
        let (broken, partner) = (guest.rings[fault.ring], guest.rings[1 - fault.ring])
        // A packet moves only when both rings have something.
        if fault.ring == 1 {
          try guest.postEmpty(partner)
        } else {
          try guest.postPacket(partner, Array(repeating: 1, count: 200))
        }
        fault.write(guest, broken)
        EventFD.signal(broken.kick)
        EventFD.signal(partner.kick)

        #expect(waits(for: broken.error), name)
        try daemon.process.waitForText(
          "vring \(fault.ring) is broken and no longer served: \(fault.reason)", since: mark)
        #expect(EventFD.drain(partner.error) == 0, name)
        // Nothing more is written to it, whatever is made available.
        let contents = guest.contents(of: broken)
        for i in 0..<3 { #expect(try guest.exchange([UInt8(i), 7], pair: 1) == [UInt8(i), 7], name) }
        #expect(guest.contents(of: broken) == contents, name)
        #expect(try broken.driver.collect() == nil, name)

        for ring in [broken, partner] { _ = try frontEnd.stop(ring.index) }
        for ring in [broken, partner] {
          guest.renew(ring)
          guest.start(ring, with: frontEnd)
        }
        _ = try frontEnd.ask(.getStatus)
        for i in 0..<3 { #expect(try guest.exchange([UInt8(i), 9], pair: 0) == [UInt8(i), 9], name) }
        #expect(EventFD.drain(broken.error) == 0, name)
        frontEnd.hangUp()
        #expect(daemon.settled(to: idle) == idle, name)
      }
      try behaveWell(at: daemon.path, queues: 2, format: format)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "A packet too long for any device is dropped, and the ring goes on", arguments: engines,
    RingLayout.Format.allCases)
  func oversized(engine: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(engine)
      let guest = try Guest(format: format)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      try guest.run(with: frontEnd)
      let (receive, transmit) = (guest.rings[0], guest.rings[1])
      let start = Guest.guestBase
      // 128 KiB at once, and 4 GiB less one byte of it that are not even there.
      for pieces in [
        [DriverRing.Piece(address: start, length: 0x2_0000, isWritable: false)],
        [DriverRing.Piece(address: start, length: .max, isWritable: false)],
        (0..<3).map { _ in DriverRing.Piece(address: start, length: 0xffff, isWritable: false) },
      ] {
        let empty = try guest.postEmpty(receive)
        guest.post(transmit, pieces, buffer: start)
        #expect(try guest.take(from: transmit)?.address == start)
        #expect(try receive.driver.collect() == nil)
        // What follows takes the buffer that was not needed.
        let packet: [UInt8] = [1, 2, 3]
        try guest.postPacket(transmit, packet)
        let received = try #require(try guest.take(from: receive))
        #expect(received == (empty, 15))
        #expect(try guest.take(from: transmit) != nil)
        #expect(guest.read(empty + 12, count: 3) == packet)
        _ = try frontEnd.stop(0)
        _ = try frontEnd.stop(1)
        for ring in [receive, transmit] {
          guest.renew(ring)
          guest.start(ring, with: frontEnd)
        }
      }
      frontEnd.hangUp()
      #expect(try daemon.end() == .exited(0))
    }
  }

  /// Whether an eventfd is signalled within ten seconds.
  private func waits(for descriptor: OwnedFD) -> Bool {
    var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&entry, 1, 10_000) == 1
  }
}
