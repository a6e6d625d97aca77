import CLinux
import FrontEndTestSupport
import Glibc
import Peers
import SystemPackage
import Testing
import VDPA
import VhostUser
import Virtio

/// Descriptors that look right, and what a front-end can do with them to make a back-end wait: nobody waits.
@Suite(.serialized)
struct BadDescriptorTests {
  private static let ways = [["--event"], ["--poll"], ["--engine", "simulator"]]

  @Test(
    "Kick and call descriptors that are made blocking, full, or both, hold nobody up", arguments: ways,
    RingLayout.Format.allCases)
  func fullAndBlocking(options: [String], format: RingLayout.Format) async throws {
    try await blocking {
      let daemon = try Daemon(["--queues", "2"] + options)
      let guest = try Guest(queues: 2, format: format)
      let frontEnd = try RawFrontEnd(path: daemon.path)
      try guest.run(with: frontEnd)
      #expect(try guest.exchange([1]) == [1])
      // The first pair's, in every way; the second's stay as they are.
      func fill(_ descriptor: OwnedFD) {
        EventFD.drain(descriptor)
        var most = UInt64.max - 1
        #expect(unsafe write(descriptor.rawValue, &most, 8) == 8)
      }
      func block(_ descriptor: OwnedFD) { #expect(fcntl(descriptor.rawValue, F_SETFL, 0) == 0) }
      let (receive, transmit) = (guest.rings[0], guest.rings[1])
      fill(receive.call)
      block(receive.call)
      block(transmit.call)
      fill(transmit.kick)
      block(transmit.kick)
      block(receive.kick)
      for i in 0..<200 {
        let packet = [UInt8(i), 1, 2]
        #expect(try guest.exchange(packet, pair: i % 2) == packet)
      }
      // New ones that are so from the start.
      let calls = try (0..<2).map { _ in try EventFD.make() }
      for (ring, call) in zip([receive, transmit], calls) {
        fill(call)
        block(call)
        let payload = VringFilePayload(index: UInt32(ring.index), hasDescriptor: true).encoded
        #expect(try frontEnd.tell(.setVringCall, payload, descriptors: [call.rawValue]))
      }
      for i in 0..<200 {
        let packet = [UInt8(i), 3, 4]
        #expect(try guest.exchange(packet, pair: i % 2) == packet)
      }
      // Errors are signalled in the same way.
      fill(transmit.error)
      block(transmit.error)
      let mark = daemon.process.mark
      try guest.postEmpty(receive)
      transmit.corrupt()
      EventFD.signal(transmit.kick)
      try daemon.process.waitForText("vring 1 is broken", since: mark)
      #expect(try guest.exchange([9], pair: 1) == [9])
      frontEnd.hangUp()
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test(
    "A file whose file system never answers, as memory and as any other descriptor, stops nobody",
    .enabled(if: SilentFileSystem.isPossible, "needs the superuser and /dev/fuse"))
  func silentFileSystem() async throws {
    try await blocking {
      let daemon = try Daemon()
      let idle = try daemon.settledHoldings()
      try behaveWell(at: daemon.path)
      let files = try SilentFileSystem()
      defer { files.end() }
      for isRunning in [false, true] {
        let guest = try Guest()
        let frontEnd = try RawFrontEnd(path: daemon.path)
        if isRunning { try guest.run(with: frontEnd) } else { try frontEnd.negotiate() }
        let mark = daemon.process.mark
        // With the numbers of a region that is there, as far as one is.
        #expect(
          try !frontEnd.tell(
            .addMemoryRegion, SingleRegionPayload(region: guest.region).encoded, descriptors: [files.file.rawValue]))
        try daemon.process.waitForText("not memfd, tmpfs or hugetlbfs", since: mark)
        for request: FrontendRequest in [.setVringKick, .setVringCall, .setVringError] {
          #expect(
            try !frontEnd.tell(
              request, VringFilePayload(index: 0, hasDescriptor: true).encoded, descriptors: [files.file.rawValue]))
        }
        // One that nobody has asked for.
        #expect(
          try !frontEnd.tell(
            .setVringNum, VringStatePayload(index: 0, number: 64).encoded, descriptors: [files.file.rawValue]))
        if isRunning { #expect(try guest.exchange([1, 2]) == [1, 2]) }
        frontEnd.hangUp()
        try behaveWell(at: daemon.path)
      }
      files.end()
      #expect(daemon.settled(to: idle) == idle)
      #expect(try daemon.end() == .exited(0))
    }
  }
}
