import CLinux
import FrontEndTestSupport
import Glibc
import Peers
import Testing
import VDPA
import VhostUser
import Virtio

/// Rings that no correct driver writes, on both datapaths: the ring is broken and says so, the other queue pair goes on,
/// and so does the broken one once it has been stopped and started again.
@Suite(.serialized)
struct BrokenRingTests {
  struct Fault: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// The ring that breaks: 0, where the guest receives, or 1, where it sends.
    let ring: Int
    /// What the log says.
    let reason: RingFault
    /// Writes it into the ring, which is empty and at position 0.
    let write: @Sendable (Guest.Ring) -> Void

    init(_ name: String, ring: Int = 1, _ reason: RingFault, _ write: @escaping @Sendable (Guest.Ring) -> Void) {
      (testDescription, self.ring, self.reason, self.write) = (name, ring, reason, write)
    }

    /// One whose available entries begin with descriptor 0.
    init(
      _ name: String, ring: Int = 1, _ reason: RingFault,
      _ descriptors: [(offset: UInt64, length: UInt32, flags: UInt16, next: UInt16)]
    ) {
      self.init(name, ring: ring, reason) { ring in
        for (i, descriptor) in descriptors.enumerated() {
          ring.area.setDescriptor(
            i,
            RingDescriptor(
              address: ring.base &+ descriptor.offset, length: descriptor.length, flags: descriptor.flags,
              link: descriptor.next))
        }
        ring.area.setHead(at: 0, 0)
        ring.area.publishAvailIndex(1)
      }
    }

    private static let next = RingDescriptor.next
    private static let written = RingDescriptor.write
    private static let indirect = RingDescriptor.indirect

    static let all: [Fault] = [
      Fault("a descriptor that is its own successor", .chainLoop, [(0x8000, 64, next, 0)]),
      Fault("a loop of two", .chainLoop, [(0x8000, 64, next, 1), (0x8000, 64, next, 0)]),
      Fault("a successor beyond the ring", .descriptorIndex, [(0x8000, 64, next, 64)]),
      Fault("the largest successor", .descriptorIndex, [(0x8000, 64, next, .max)]),
      Fault("a buffer outside of memory", .unmapped, [(0x1000_0000, 64, 0, 0)]),
      Fault("a buffer at address 0", .unmapped, [(0 &- Guest.guestBase &- 1 << 16, 64, 0, 0)]),
      Fault("a buffer across the end of memory", .unmapped, [(0x2_fff0, 64, 0, 0)]),
      Fault("a buffer across the end of the address space", .unmapped, [(0 &- Guest.guestBase &- 0x1_0010, 64, 0, 0)]),
      Fault("an indirect table", .indirect, [(0x8000, 64, indirect, 0)]),
      Fault("read after written", .descriptorOrder, [(0x8000, 64, written | next, 1), (0x8100, 64, 0, 0)]),
      Fault("no room for the header", .shortBuffer, [(0x8000, 11, 0, 0)]),
      Fault("an empty buffer", .shortBuffer, [(0x8000, 0, 0, 0)]),
      Fault("a head beyond the ring", .descriptorIndex) { ring in
        ring.area.setHead(at: 0, 64)
        ring.area.publishAvailIndex(1)
      },
      Fault("more available than the ring holds", .availableIndex) { $0.area.publishAvailIndex(65) },
      Fault("an available index that went back", .availableIndex) { $0.area.publishAvailIndex(.max) },
      Fault("a receive buffer outside of memory", ring: 0, .unmapped, [(0x1000_0000, 2048, written, 0)]),
      Fault("a receive buffer across the end", ring: 0, .unmapped, [(0x3_fff0, 2048, written, 0)]),
      Fault("a receive buffer that is read", ring: 0, .descriptorOrder, [(0x8000, 2048, 0, 0)]),
      Fault("a receive chain that loops", ring: 0, .chainLoop, [(0x8000, 1, written | next, 0)]),
      Fault("a receive buffer of nothing", ring: 0, .shortBuffer, [(0x8000, 4, written, 0)]),
      Fault("a receive chain beyond the ring", ring: 0, .descriptorIndex, [(0x8000, 16, written | next, 64)]),
    ]
  }

  @Test("A broken ring is reported and left alone; the others go on", arguments: [[], ["--engine", "simulator"]])
  func faults(engine: [String]) async throws {
    try await blocking {
      let daemon = try Daemon(["--queues", "2"] + engine)
      let idle = daemon.holdings
      try behaveWell(at: daemon.path, queues: 2)
      for fault in Fault.all {
        let name = Comment(rawValue: "\(fault.testDescription) \(engine)")
        let guest = try Guest(queues: 2)
        let frontEnd = try RawFrontEnd(path: daemon.path)
        try guest.run(with: frontEnd)
        let mark = daemon.process.mark
        let (broken, partner) = (guest.rings[fault.ring], guest.rings[1 - fault.ring])
        // A packet moves only when both rings have something.
        let buffer = partner.base + 0x8000
        guest.post(
          partner, [.init(address: buffer, length: 200, isWritable: fault.ring == 1)], buffer: buffer)
        fault.write(broken)
        EventFD.signal(broken.kick)
        EventFD.signal(partner.kick)

        #expect(waits(for: broken.error), name)
        try daemon.process.waitForText(
          "vring \(fault.ring) is broken and no longer served: \(fault.reason)", since: mark)
        #expect(EventFD.drain(partner.error) == 0, name)
        // Nothing more is written to it, whatever is made available.
        #expect(broken.area.usedIndex == 0, name)
        for i in 0..<3 { #expect(try guest.exchange([UInt8(i), 7], pair: 1) == [UInt8(i), 7], name) }

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
      try behaveWell(at: daemon.path, queues: 2)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "A packet too long for any device is dropped, and the ring goes on", arguments: [[], ["--engine", "simulator"]])
  func oversized(engine: [String]) async throws {
    try await blocking {
      let daemon = try Daemon(engine)
      let guest = try Guest()
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
        guest.post(
          receive, [.init(address: receive.base + 0x8000, length: 2048, isWritable: true)],
          buffer: receive.base + 0x8000)
        guest.post(transmit, pieces, buffer: start)
        #expect(becomesTrue { transmit.area.usedIndex == 1 })
        #expect(receive.area.usedIndex == 0)
        _ = try transmit.driver.collect()
        // What follows takes the buffer that was not needed.
        let packet: [UInt8] = [1, 2, 3]
        let full = transmit.base + 0x8000
        guest.write(Array(repeating: 0, count: 12) + packet, at: full)
        guest.post(transmit, [.init(address: full, length: 15, isWritable: false)], buffer: full)
        #expect(becomesTrue { receive.area.usedIndex == 1 && transmit.area.usedIndex == 2 })
        #expect(guest.read(receive.base + 0x8000 + 12, count: 3) == packet)
        _ = try frontEnd.stop(0)
        _ = try frontEnd.stop(1)
        guest.renew(receive)
        guest.renew(transmit)
        guest.start(receive, with: frontEnd)
        guest.start(transmit, with: frontEnd)
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
