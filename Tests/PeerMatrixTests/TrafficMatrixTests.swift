import Datapath
import Peers
import SimulatorEngine
import Testing
import VDPA
import VhostUser

/// DPDK's front-end on both datapaths: every packet that its rings took is accounted for, and by the device
/// that the socket is bound to.
extension PeerMatrixTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let serving: ServingEngine
    let traffic: Traffic
    let length: Int
    let queues: Int
    var format = RingPath.Format.split

    var testDescription: String { "\(serving), \(traffic), \(length) bytes, \(queues) queue pairs, \(format)" }

    static let all: [Case] = ServingEngine.allCases.flatMap { serving in
      Traffic.allCases.flatMap { traffic in
        [64, 1500].flatMap { length in
          [1, 2].map { Case(serving: serving, traffic: traffic, length: length, queues: $0) }
        } + [Case(serving: serving, traffic: traffic, length: 64, queues: 2, format: .packed)]
      }
    }
  }

  @Test("No packet is lost, and the bound device carried them", arguments: Case.all)
  func matrix(_ run: Case) async throws {
    try await blocking { try Self.carry(run, Bench(traffic: run.traffic, length: run.length)) }
  }

  @Test("A polling worker loses no packet either", arguments: RingPath.Format.allCases)
  func poll(format: RingPath.Format) async throws {
    try await blocking {
      let workers = WorkerConfiguration(mode: .poll, cpus: [PeerCPU.backEnd])
      try Self.carry(
        Case(serving: .software, traffic: .loopback, length: 64, queues: 2, format: format), Bench(workers: workers))
    }
  }

  private static func carry(_ run: Case, _ bench: Bench) throws {
    let socket = try bench.socket(run.serving, queues: run.queues, traffic: run.traffic, length: run.length)
    let idle = try bench.socket(run.serving.other, queues: run.queues, traffic: run.traffic, length: run.length)
    // What a source sends before the front-end is up is taken by its driver and counted by nobody.
    if run.traffic == .source { try bench.pause(run.serving) }
    var options = RingPath(run.format, queues: run.queues).options
    options.packetLength = run.length
    // Not a divisor of the ring's size: the device's last buffers are fewer than a burst takes.
    options.extraArguments = ["--burst=24"]
    let frontEnd = try Testpmd.FrontEnd(socketPath: socket.status.path, options: options)
    #expect(socket.status.isReady && bench.isRunning(socket), "\(socket.status)")
    #expect(socket.status.datapath == run.serving.rawValue)
    #expect(try frontEnd.driverPath().transmit.hasPrefix("packed ring") == (run.format == .packed))

    switch run.traffic {
    case .loopback:
      let steady = try frontEnd.loopbackRun(seconds: 0.3)
      #expect(steady.txPackets > 0 && steady.lost == 0, "\(steady)")
      // With nobody receiving, the device soon has no buffer to give packets back in, and has to wait.
      let flood = try frontEnd.floodRun(seconds: 0.2)
      #expect(flood.txPackets > 0 && flood.lost == 0, "\(flood)")
      #expect(socket.taken.sum == steady.txPackets + flood.txPackets)
      #expect(socket.given == socket.taken)
    case .sink:
      let result = try frontEnd.sinkRun(seconds: 0.3)
      #expect(becomesTrue { socket.taken.sum >= result.txPackets })
      #expect(socket.taken.sum == result.txPackets, "\(result)")
      #expect(socket.takenBytes == result.txPackets * UInt64(run.length))
      #expect(result.rxPackets == 0 && socket.given.sum == 0)
    case .source:
      try bench.resume(run.serving)
      let result = try frontEnd.sourceRun(seconds: 0.3) { try bench.pause(run.serving) }
      #expect(result.rxPackets > 0 && result.rxPackets == socket.given.sum, "\(result)")
      #expect(result.rxBytes == result.rxPackets * UInt64(run.length))
      try bench.resume(run.serving)
    }

    // Which path carried the data: each queue pair of the bound device, and nothing else.
    #expect(socket.statistics.count == 2 * run.queues)
    #expect((run.traffic == .source ? socket.given : socket.taken).allSatisfy { $0 > 0 }, "\(socket.statistics)")
    #expect(socket.dropped == 0, "\(socket.statistics)")
    #expect(idle.statistics.allSatisfy { $0 == VringStatistics() }, "\(idle.statistics)")
    #expect((bench.simulated.statistics.reduce(0) { $0 + $1.packets } > 0) == (run.serving == .simulator))
    frontEnd.quit()
    try bench.finish(socket, idle)
  }
}
