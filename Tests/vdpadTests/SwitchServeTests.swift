import FrontEndTestSupport
import Peers
import Testing
import VhostUser
import Virtio

/// `vdpad serve` with several sockets, which reach each other.
@Suite(.serialized)
struct SwitchServeTests {
  private static func frame(to: UInt8, from: UInt8) -> [UInt8] {
    [2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5] + [UInt8](repeating: from, count: 50)
  }

  /// Sends a frame and takes it at the other end.
  private static func pass(_ frame: [UInt8], from sender: Guest, to receiver: Guest) throws -> [UInt8] {
    try receiver.postEmpty(receiver.rings[0])
    try sender.postPacket(sender.rings[1], frame)
    _ = try #require(try sender.take(from: sender.rings[1]))
    let found = try #require(try receiver.take(from: receiver.rings[0]), "nothing comes")
    return Array(receiver.read(found.address, count: Int(found.length)).dropFirst(NetHeader.modernLength))
  }

  @Test("The front-ends of two sockets on a switch reach each other; one that comes back does so again")
  func twoSockets() async throws {
    try await blocking {
      let scratch = try ScratchDirectory("vdpad")
      let second = scratch.file("second")
      let daemon = try Daemon("--socket-path", second, "--port", "switch=lan", "--stats", "1")
      try ListeningSocket.wait(at: second, by: daemon.process)
      let guests = [try Guest(), try Guest(format: .packed)]
      let frontEnds = [try RawFrontEnd(path: daemon.path), try RawFrontEnd(path: second)]
      for (guest, frontEnd) in zip(guests, frontEnds) { try guest.run(with: frontEnd) }
      for (to, from) in [(1, 0), (0, 1), (1, 0)] as [(Int, Int)] {
        let frame = Self.frame(to: UInt8(to), from: UInt8(from))
        #expect(try Self.pass(frame, from: guests[from], to: guests[to]) == frame)
      }
      try daemon.process.waitForText("switch lan, second: addresses 1, received 1, forwarded 1, learned 1")

      frontEnds[1].hangUp()
      try daemon.process.waitForText("switch lan, second: addresses 0", since: daemon.process.mark)
      let again = try Guest()
      let frontEnd = try RawFrontEnd(path: second)
      try again.run(with: frontEnd)
      let frame = Self.frame(to: 1, from: 0)
      #expect(try Self.pass(frame, from: guests[0], to: again) == frame)
      #expect(try daemon.end() == .exited(0))
    }
  }
}
