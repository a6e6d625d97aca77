import Foundation
import Testing

@testable import Peers

/// The harness against DPDK's own back-end: what it reports of a known good peer, and that it sees a bad one.
@Suite(.serialized)
struct TestpmdTests {
  @Test("Through a back-end that gives all back nothing is lost, by any run")
  func loopback() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let socket = scratch.file("sock")
      let backEnd = try Testpmd.BackEnd(socketPath: socket, port: .loopback(lossless: true), queues: 2)
      try ListeningSocket.wait(at: socket, by: backEnd.session.process)
      let frontEnd = try Testpmd.FrontEnd(socketPath: socket, options: .init(queues: 2, packetLength: 1500))
      let first = try frontEnd.loopbackRun(seconds: 0.3)
      #expect(first.txPackets > 0)
      #expect(first.lost == 0)
      #expect(first.txDropped == 0)
      #expect(first.packetsPerSecond > 0)
      let flood = try frontEnd.floodRun(seconds: 0.2)
      #expect(flood.lost == 0)
      // It sent far more than the rings hold, with nothing taken out of them.
      #expect(flood.txDropped > 0)
      let total = try frontEnd.portStatistics()
      #expect(total.txPackets == first.txPackets + flood.txPackets)
      #expect(total.txBytes == total.txPackets * 1500)
      frontEnd.quit()
      let forwarded = try backEnd.stop()
      #expect(forwarded.rxPackets == total.txPackets)
      #expect(forwarded.txPackets == total.rxPackets)
    }
  }

  @Test("Frames return byte for byte and in order, on each of two queue pairs")
  func roundTrip() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let backEnd = try Testpmd.BackEnd(socketPath: scratch.file("sock"), port: .loopback(lossless: true), queues: 2)
      let comparisons = try PcapRoundTrip(options: .init(queues: 2), framesPerQueue: 2000)
        .run(socketPath: scratch.file("sock")).comparisons
      #expect(comparisons.map(\.isEqual) == [true, true], "\(comparisons)")
      #expect(comparisons.map(\.returned) == [2000, 2000])
      backEnd.quit()
    }
  }

  @Test("A round trip goes along the path that it is told, and says so", arguments: RingPath.Format.allCases)
  func path(format: RingPath.Format) async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let backEnd = try Testpmd.BackEnd(socketPath: scratch.file("sock"), port: .loopback(lossless: true))
      let path = RingPath(format, isMergeable: false, isInOrder: format == .packed, isVectorised: true)
      let outcome = try PcapRoundTrip(along: path).run(socketPath: scratch.file("sock"))
      #expect(outcome.driverPath == path.driverPath(hasAVX512: PeerCPU.hasAVX512))
      #expect(outcome.comparisons.map(\.isEqual) == [true], "\(outcome.comparisons)")
      backEnd.quit()
    }
  }

  @Test("A back-end that changes a frame is found out")
  func changed() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let backEnd = try Testpmd.BackEnd(socketPath: scratch.file("sock"), port: .loopback(lossless: true))
      try backEnd.stop()
      try backEnd.session.setForward(.macswap)
      try backEnd.start()
      // Less than a ring: without retry nothing is dropped either.
      let comparisons = try PcapRoundTrip(framesPerQueue: 100).run(socketPath: scratch.file("sock")).comparisons
      #expect(comparisons.map(\.returned) == [100])
      #expect(comparisons.map(\.firstDifference) == [0])
      backEnd.quit()
    }
  }

  @Test("A back-end that keeps packets is a loss and a difference; what it took is what was sent")
  func sink() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let socket = scratch.file("sock")
      let backEnd = try Testpmd.BackEnd(socketPath: socket, port: .sink)
      let frontEnd = try Testpmd.FrontEnd(socketPath: socket)
      let loopback = try frontEnd.loopbackRun(seconds: 0.1)
      #expect(loopback.rxPackets == 0)
      #expect(loopback.lost == 128)
      let sink = try frontEnd.sinkRun(seconds: 0.2)
      #expect(sink.txPackets > 0)
      #expect(sink.packetsPerSecond > 0)
      #expect(sink.rxPackets == 0)
      #expect(sink.txBytes == sink.txPackets * 64)
      // What is still in a ring when its front-end goes, the back-end never sees.
      for _ in 0..<500 where try backEnd.session.portStatistics().rxPackets < 128 + sink.txPackets {
        Thread.sleep(forTimeInterval: 0.02)
      }
      frontEnd.quit()
      var roundTrip = PcapRoundTrip(framesPerQueue: 100)
      roundTrip.patience = .milliseconds(300)
      let comparisons = try roundTrip.run(socketPath: socket).comparisons
      #expect(comparisons.map(\.isEqual) == [false])
      #expect(comparisons.map(\.returned) == [0])
      #expect(try backEnd.stop().rxPackets == 128 + sink.txPackets + 100)
    }
  }

  @Test("What a source sent is what was received, once it stands still")
  func source() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let backEnd = try Testpmd.BackEnd(
        socketPath: scratch.file("sock"), port: .source(length: 200), forwarding: false)
      let frontEnd = try Testpmd.FrontEnd(socketPath: scratch.file("sock"))
      try backEnd.start()
      // DPDK's back-end counts what it handed to the ring.
      var sent: UInt64 = 0
      let result = try frontEnd.sourceRun(seconds: 0.2) { sent = try backEnd.stop().txPackets }
      #expect(result.rxPackets == sent)
      #expect(result.rxPackets > 0)
      #expect(result.rxBytes == result.rxPackets * 200)
      #expect(result.packetsPerSecond > 0)
    }
  }

  @Test("A front-end without a back-end is an error with testpmd's words, and a bad command one with its answer")
  func errors() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let error = try #require(throws: PeerError.self) {
        try Testpmd.FrontEnd(socketPath: scratch.file("none"))
      }
      #expect(error.code == .cannotStart)
      #expect(error.description.contains("connect error, No such file or directory"))

      let backEnd = try Testpmd.BackEnd(socketPath: scratch.file("sock"), port: .sink)
      let refused = try #require(throws: PeerError.self) { try backEnd.session.command("no such command") }
      #expect(refused.code == .badAnswer)
      let length = try #require(throws: PeerError.self) { try backEnd.session.setPacketLength(2100) }
      #expect(length.code == .invalidRun)
      let twice = try #require(throws: PeerError.self) { try backEnd.start() }
      #expect(twice.description.contains("already started"))
      // Still at its prompt.
      #expect(try backEnd.stop().rxPackets == 0)
      #expect(backEnd.session.quit() == .exited(0))
    }
  }
}
