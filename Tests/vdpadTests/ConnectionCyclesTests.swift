import FrontEndTestSupport
import Peers
import SystemPackage
import Testing
import VDPA
import VhostUser
import Virtio

/// Front-ends that come and go all the time: whatever a connection took is given back.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct ConnectionCyclesTests {
  private static let cycles = 10_000
  /// Until allocators and caches have what they keep.
  private static let warmUp = 1000
  /// Less than half an allocation of the smallest size in each cycle, and more than a heap breathes.
  private static let growth = 160

  /// Runs that many sessions with traffic, split and packed in turns.
  private static func cycle(_ count: Int, connect: () throws -> RawFrontEnd) throws {
    for i in 0..<count {
      let guest = try Guest(format: i.isMultiple(of: 2) ? .split : .packed)
      let frontEnd = try connect()
      try guest.run(with: frontEnd)
      let packet = [UInt8](repeating: UInt8(truncatingIfNeeded: i), count: 60)
      let returned = try guest.exchange(packet)
      if returned != packet { Issue.record("cycle \(i): \(returned) came back") }
      frontEnd.hangUp()
    }
  }

  /// Compares what the process has between sessions, before and after the cycles.
  private static func check(_ process: PeerProcess, connect: () throws -> RawFrontEnd) throws {
    /// Once the last session's end has been seen; in the client role there is a connection again, and so there was before.
    func footprint() throws -> Footprint {
      _ = becomesTrue { Holdings(of: process).mappings == 0 }
      return try Footprint.settled(of: process)
    }
    try cycle(warmUp, connect: connect)
    let before = try footprint()
    try cycle(cycles, connect: connect)
    let after = try footprint()
    #expect(after.holdings == before.holdings, "before: \(before); after: \(after)")
    #expect(after.mappings <= before.mappings, "before: \(before); after: \(after)")
    #expect(after.resident <= before.resident + growth, "before: \(before); after: \(after)")
    #expect(process.terminate() == .exited(0))
  }

  @Test("10,000 front-ends connect, negotiate, have traffic and leave: no descriptor, mapping or memory stays")
  func server() async throws {
    try await blocking {
      let scratch = try ScratchDirectory("vdpad")
      let path = scratch.file("sock")
      let process = try Daemon.start(["serve", "--socket-path", path])
      try ListeningSocket.wait(at: path, by: process)
      try Self.check(process) { try RawFrontEnd(path: path) }
    }
  }

  @Test("2,000 front-ends that leave at once, in the middle of messages with descriptors too, leave nothing behind")
  func storm() async throws {
    try await blocking {
      let daemon = try Daemon("--log-level", "info")
      let before = try daemon.settledHoldings()
      try behaveWell(at: daemon.path)
      for i in 0..<2000 {
        let guest = try Guest()
        let frontEnd = try RawFrontEnd(path: daemon.path)
        switch i % 4 {
        case 0: break
        case 1: frontEnd.send(bytes: [1, 0, 0], descriptors: [guest.file.rawValue])
        case 2:
          frontEnd.send(
            bytes: MessageHeader(request: 5, size: 40).encoded + [1], descriptors: guest.rings.map(\.kick.rawValue))
        default:
          guest.share(with: frontEnd)
          frontEnd.send(.getFeatures)
        }
        frontEnd.hangUp()
      }
      #expect(daemon.settled(to: before) == before)
      try behaveWell(at: daemon.path)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("10,000 sessions in the client role leave as little: vdpad comes back each time")
  func client() async throws {
    try await blocking {
      let scratch = try ScratchDirectory("vdpad")
      let listener = try FrontEndListener(path: scratch.file("sock"))
      let process = try Daemon.start(["serve", "--client", "--socket-path", listener.path])
      try Self.check(process) { try #require(try listener.accept(), "vdpad has not come back") }
    }
  }
}
