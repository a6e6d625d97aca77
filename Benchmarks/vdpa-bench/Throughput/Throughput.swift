import ArgumentParser
import Foundation
import Peers

/// Compares this project's back-end with DPDK's own, driven by the same front-end.
struct Throughput: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "throughput",
    abstract: "Packets a second of the same front-end against vdpad and against DPDK's net_vhost.",
    discussion: """
      The front-end is dpdk-testpmd with net_virtio_user. Each round starts all back-ends afresh, one after the other \
      and in turns first. Counted is what the front-end receives (loopback, source) or sends (sink). The table has the \
      medians over the rounds; the ratio is the median of the rounds' own ratios; "spread" is how far the rounds lie apart; \
      "waiting" is the worst share of a measurement in which another program had the CPU of either end: beyond some percent, \
      repeat it on an idle machine.
      """)

  @Option(help: "How often every cell is measured with each back-end.")
  var rounds = 3

  @Option(help: "Seconds of traffic a measurement.")
  var seconds = 2.0

  @Option(help: "Lengths of frames in bytes, without their checksum.", transform: { try list($0) { Int($0) } })
  var sizes = [64, 1500]

  @Option(
    help: "What the back-end does with packets: loopback, sink, source.",
    transform: { try list($0) { Port(rawValue: $0) } })
  var ports = Port.allCases

  @Option(help: "Ring formats: split, packed.", transform: { try list($0) { RingPath.Format(rawValue: $0) } })
  var formats = [RingPath.Format.split]

  @Option(
    help: "Loopback: whether a packet may fill several buffers: on, off.", transform: { try list($0, onOrOff) })
  var mergeable = [true]

  @Option(help: "Loopback: whether buffers come back in order: on, off.", transform: { try list($0, onOrOff) })
  var inOrder = [true]

  @Option(help: "Queue pairs.")
  var queues = 1

  @Option(help: "Descriptors a ring.")
  var queueSize = 256

  @Option(help: "Bursts of 32 packets that the front-end sends first, on each queue, for loopback.")
  var bursts = 32

  @OptionGroup var ends: BothEnds

  @Option(help: "A second daemon, compiled for this very machine; its figures stand beside.")
  var native: String?

  @Option(
    help: "Only these back-ends: vdpad, dpdk, native.", transform: { try list($0) { BackEndKind(rawValue: $0) } })
  var only = BackEndKind.allCases

  @Option(help: "A directory for the output of every program that is run.")
  var logs: String?

  @Option(help: "A file for a chart of the ratios (SVG).")
  var svg: String?

  @Option(help: "A file for the figures as JSON.")
  var jsonFile: String?

  @Flag(help: "JSON in place of the table.")
  var json = false

  private var backEnds: [BackEndKind] { only.filter { $0 != .native || native != nil } }

  func validate() throws {
    guard rounds > 0, seconds > 0, queues > 0, bursts > 0 else {
      throw ValidationError("rounds, seconds, queues and bursts have to be positive")
    }
    // What testpmd can make: one of its buffers, and what its virtio driver takes by itself.
    guard sizes.allSatisfy({ (60...1518).contains($0) }) else {
      throw ValidationError("sizes are Ethernet frames of 60 to 1518 bytes")
    }
    guard queueSize.nonzeroBitCount == 1, (32...32768).contains(queueSize) else {
      throw ValidationError("a ring has a power of two of descriptors, from 32 to 32768")
    }
    guard !backEnds.isEmpty else { throw ValidationError("native is a back-end only with --native FILE") }
  }

  func run() throws {
    let measurement = Measurement(
      seconds: seconds, queues: queues, queueSize: queueSize, bursts: bursts, backEndCPU: ends.backendCPU,
      frontEndCPU: ends.frontendCPU,
      daemons: [
        .vdpad: try only.contains(.vdpad) ? ends.daemon() : "", .native: native ?? "",
      ], logs: logs)
    if let logs { try FileManager.default.createDirectory(atPath: logs, withIntermediateDirectories: true) }
    ends.warnIfShared()
    let plans = CellPlan.all(ports: ports, formats: formats, sizes: sizes, mergeable: mergeable, inOrder: inOrder)
    var report = ThroughputReport(backEnds: backEnds)
    var countdown = Countdown(plans.count * rounds * backEnds.count)
    note("\(plans.count) cells, \(rounds) rounds of \(seconds) s, \(backEnds.count) back-ends")
    for plan in plans {
      var cell = Cell(plan: plan)
      for round in 0..<rounds {
        // In turns first, so that a drift of the machine's speed weighs on all.
        for kind in round.isMultiple(of: 2) ? backEnds : backEnds.reversed() {
          let outcome = try measurement.run(kind, plan, round: round)
          try report.add(outcome, of: kind, to: &cell)
          note(
            "\(plan.name), round \(round + 1), \(kind): \(Figure.mega(outcome.packetsPerSecond)) Mpps"
              + (outcome.disturbance.map { ", \(Figure.percent($0)) waiting for a CPU" } ?? "") + " ("
              + countdown.step() + ")")
        }
      }
      report.cells.append(cell)
    }
    note("took \(Figure.time(countdown.elapsed()))")
    if let jsonFile { try write(try report.json() + "\n", to: jsonFile) }
    if let svg { try write(report.chart.svg(), to: svg) }
    print(json ? try report.json() : report.table())
  }

  private func write(_ text: String, to path: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    note("written: \(path)")
  }
}

extension ThroughputReport {
  /// Adds what was measured.
  ///
  /// - Throws: ``PeerError``, when it cannot be compared with what was measured before.
  fileprivate mutating func add(_ outcome: Measurement.Outcome, of kind: BackEndKind, to cell: inout Cell) throws {
    // Figures with and without hugepages are not comparable.
    guard memory == nil || memory == outcome.memory else {
      throw PeerError(
        .invalidRun, "the front-end got other memory than before: \(outcome.memory); free more hugepages")
    }
    // Nor are those of different functions, which the front-end's driver chooses by what a back-end offers.
    if let driver = cell.driver, driver != outcome.driver {
      throw PeerError(
        .invalidRun, "\(cell.plan.name): with \(kind) the front-end uses \(outcome.driver), before \(driver)")
    }
    memory = outcome.memory
    cell.driver = outcome.driver
    cell.rates.add(outcome.packetsPerSecond, of: kind)
    cell.disturbance = max(cell.disturbance, outcome.disturbance ?? 0)
  }
}
