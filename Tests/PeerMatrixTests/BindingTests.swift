import Foundation
import Peers
import Testing
import VhostUser

extension PeerMatrixTests {
  @Test(
    "Stopping one datapath stops only the traffic of the socket that is bound to it", arguments: ServingEngine.allCases)
  func negativeControl(stopped: ServingEngine) async throws {
    try await blocking {
      let bench = try Bench()
      let sockets = try [stopped, stopped.other].map { try bench.socket($0) }
      let frontEnds = try sockets.map { try Testpmd.FrontEnd(socketPath: $0.status.path) }
      for socket in sockets { #expect(bench.isRunning(socket)) }
      for frontEnd in frontEnds {
        try frontEnd.setForward(.io)
        try frontEnd.startTxFirst(bursts: 2)
      }
      let (bound, other) = (sockets[0], sockets[1])
      #expect(bound.moves() && other.moves())

      try bench.pause(stopped)
      #expect(bound.standsStill())
      let before = bound.packets
      #expect(other.moves())
      #expect(bound.packets == before)

      try bench.resume(stopped)
      #expect(bound.moves() && other.moves())
      for (socket, frontEnd) in zip(sockets, frontEnds) {
        #expect(try frontEnd.stop().txDropped == 0)
        // Takes in what is still on its way.
        try frontEnd.setForward(.rxonly)
        try frontEnd.start()
        let total = try frontEnd.settle(expected: { $0.rxPackets == $0.txPackets })
        #expect(total.txPackets > 0 && total.rxPackets == total.txPackets, "\(total)")
        #expect(socket.taken.sum == total.txPackets && socket.given == socket.taken)
        #expect(socket.dropped == 0)
        try frontEnd.stop()
        frontEnd.quit()
      }
      try bench.finish(bound, other)
    }
  }

  @Test(
    "One socket serves front-ends with rings of either format, one after the other, and goes on counting",
    arguments: ServingEngine.allCases)
  func successors(serving: ServingEngine) async throws {
    try await blocking {
      let bench = try Bench()
      let socket = try bench.socket(serving, queues: 2)
      var sent: UInt64 = 0
      for format: RingPath.Format in [.split, .packed, .split] {
        let frontEnd = try Testpmd.FrontEnd(
          socketPath: socket.status.path, options: RingPath(format, queues: 2).options)
        #expect(bench.isRunning(socket))
        let result = try frontEnd.loopbackRun(seconds: 0.1)
        #expect(result.txPackets > 0 && result.lost == 0, "\(result)")
        sent += result.txPackets
        #expect(socket.taken.sum == sent && socket.given == socket.taken)
        frontEnd.quit()
        #expect(becomesTrue { !socket.status.isConnected })
        #expect(socket.status.notReadyReason == "no front-end is connected")
      }
      try bench.finish(socket)
    }
  }

  /// DPDK's driver keeps the rings started over `port stop` and `port start`; rings that are stopped and started again
  /// on one connection are vdpadTests' matter.
  @Test(
    "A front-end stops its port and starts it again on the same connection", arguments: ServingEngine.allCases,
    RingPath.Format.allCases)
  func restart(serving: ServingEngine, format: RingPath.Format) async throws {
    try await blocking {
      let bench = try Bench()
      let socket = try bench.socket(serving, queues: 2)
      let frontEnd = try Testpmd.FrontEnd(socketPath: socket.status.path, options: RingPath(format, queues: 2).options)
      #expect(bench.isRunning(socket))
      var sent: UInt64 = 0
      for round in 0..<3 {
        if round > 0 {
          try frontEnd.session.command("port stop 0", expecting: "Done")
          try frontEnd.session.command("port start 0", expecting: "Done")
          #expect(bench.isRunning(socket))
        }
        let result = try frontEnd.loopbackRun(seconds: 0.1)
        #expect(result.txPackets > 0 && result.lost == 0, "\(result)")
        sent += result.txPackets
        #expect(socket.taken.sum == sent && socket.given == socket.taken)
      }
      frontEnd.quit()
      try bench.finish(socket)
      let log = bench.log(of: socket)
      #expect(log.connections == 1)
      for index in 0..<4 { #expect(log.starts(of: index) >= 1, "vring \(index)") }
    }
  }
}
