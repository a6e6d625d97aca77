import Foundation
import Peers

/// One back-end and one front-end, started for one measurement.
struct Measurement: Sendable {
  let seconds: Double
  let queues: Int
  let queueSize: Int
  let bursts: Int
  let backEndCPU: Int
  let frontEndCPU: Int
  /// The programs of this project's daemon.
  let daemons: [BackEndKind: String]
  let logs: String?

  /// The outcome of one measurement.
  struct Outcome: Sendable {
    let packetsPerSecond: Double
    /// Where the front-end's memory came from.
    let memory: PeerMemory
    /// The functions that its driver has chosen.
    let driver: DriverPath
    /// The share of the time in which either end was ready to run and another program had its CPU.
    let disturbance: Double?
  }

  func run(_ kind: BackEndKind, _ plan: CellPlan, round: Int) throws -> Outcome {
    let scratch = try ScratchDirectory("bench")
    let socket = scratch.file("sock")
    let log = logs.map { logs in
      let name = plan.name.replacing(",", with: "").replacing(" ", with: "-")
      return "\(logs)/\(name)-\(round + 1)-\(kind.rawValue)"
    }
    let (backEnd, end) = try start(kind, port: plan.port, size: plan.bytes, socket: socket, log: log)
    defer { end() }
    var options = Testpmd.FrontEnd.Options(queues: queues, packetLength: plan.bytes)
    options.queueSize = queueSize
    options.packed = plan.format == .packed
    options.mrgRxbuf = plan.isMergeable
    options.inOrder = plan.isInOrder
    options.cpu = frontEndCPU
    // Both rings of every pair filled, and what the threads keep for themselves.
    options.mbufs = max(8192, 4 * queues * queueSize)
    options.logFile = log.map { $0 + "-frontend.log" }
    let frontEnd = try Testpmd.FrontEnd(socketPath: socket, options: options)
    defer { frontEnd.quit() }
    switch plan.port {
    case .loopback:
      try frontEnd.setForward(.io)
      try frontEnd.startTxFirst(bursts: bursts)
    case .sink:
      try frontEnd.setForward(.txonly)
      try frontEnd.start()
    case .source:
      try frontEnd.setForward(.rxonly)
      try frontEnd.start()
    }
    // Past the first bursts, with caches and branch predictors warm.
    Thread.sleep(forTimeInterval: 0.3)
    let disturbance = Disturbance(of: backEnd.pid, frontEnd.session.process.pid)
    let rate = try frontEnd.rate(plan.port == .sink ? .sent : .received, seconds: seconds)
    guard rate > 0 else {
      throw PeerError(.invalidRun, "no packet moved: \(kind), \(plan.name)")
    }
    let share = disturbance.share()
    return Outcome(
      packetsPerSecond: rate, memory: frontEnd.session.memory, driver: try frontEnd.driverPath(),
      disturbance: share)
  }

  /// Starts the back-end; returns it and what ends it.
  private func start(_ kind: BackEndKind, port: Port, size: Int, socket: String, log: String?) throws -> (
    PeerProcess, () -> Void
  ) {
    let logFile = log.map { $0 + "-backend.log" }
    switch kind {
    case .dpdk:
      let backEndPort: Testpmd.BackEnd.Port =
        switch port {
        case .loopback: .loopback(lossless: false)
        case .sink: .sink
        case .source: .source(length: size)
        }
      let backEnd = try Testpmd.BackEnd(
        socketPath: socket, port: backEndPort, queues: queues, cpu: backEndCPU, logFile: logFile)
      return (backEnd.session.process, { backEnd.quit() })
    case .vdpad, .native:
      let process = try PeerProcess(
        daemons[kind] ?? "",
        [
          "serve", "--type", "net", "--socket-path", socket, "--port", port == .source ? "source=\(size)" : "\(port)",
          "--poll", "--cpu", "\(backEndCPU)", "--queues", "\(queues)",
        ],
        hint: "`swift build -c release --product vdpad` makes it", logFile: logFile)
      try ListeningSocket.wait(at: socket, by: process)
      return (process, { process.terminate() })
    }
  }
}
