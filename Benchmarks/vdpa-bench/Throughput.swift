import ArgumentParser
import Foundation
import Peers

/// Compares this project's back-end with DPDK's own, driven by the same front-end.
struct Throughput: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "throughput",
    abstract: "Packets a second of the same front-end against vdpad and against DPDK's net_vhost.",
    discussion: """
      The front-end is dpdk-testpmd with net_virtio_user. Each round starts both back-ends afresh, one after the other \
      and in turns first. Counted is what the front-end receives (loopback, source) or sends (sink). The table has the \
      medians over the rounds; the ratio is the median of the rounds' own ratios; "waiting" is the worst share of a \
      measurement in which another program had the CPU of either end: beyond some percent, repeat it on an idle machine.
      """)

  @Option(help: "How often every cell is measured with each back-end.")
  var rounds = 3

  @Option(help: "Seconds of traffic a measurement.")
  var seconds = 2.0

  @Option(help: "Packet lengths in bytes.", transform: { try list($0) { Int($0) } })
  var sizes = [64, 1500]

  @Option(
    help: "What the back-end does with packets: loopback, sink, source.",
    transform: { try list($0) { Port(rawValue: $0) } })
  var ports = Port.allCases

  @Option(help: "Queue pairs.")
  var queues = 1

  @Option(help: "Descriptors a ring.")
  var queueSize = 256

  @Option(help: "Bursts of 32 packets that the front-end sends first, on each queue, for loopback.")
  var bursts = 32

  @Flag(help: "Packed rings.")
  var packed = false

  @Option(help: "The CPU of the back-end.")
  var backendCPU = PeerCPU.backEnd

  @Option(help: "The CPU of the front-end.")
  var frontendCPU = PeerCPU.frontEnd

  @Option(help: "The daemon (default: the vdpad beside this program).")
  var vdpad: String?

  @Option(help: "Only these back-ends: vdpad, dpdk.", transform: { try list($0) { BackEndKind(rawValue: $0) } })
  var only = BackEndKind.allCases

  @Option(help: "A directory for the output of every program that is run.")
  var logs: String?

  @Flag(help: "JSON in place of the table.")
  var json = false

  func validate() throws {
    guard rounds > 0, seconds > 0, queues > 0, bursts > 0 else {
      throw ValidationError("rounds, seconds, queues and bursts have to be positive")
    }
    guard sizes.allSatisfy({ (60...1514).contains($0) }) else {
      throw ValidationError("sizes are Ethernet frames of 60 to 1514 bytes")
    }
    guard queueSize.nonzeroBitCount == 1, (32...32768).contains(queueSize) else {
      throw ValidationError("a ring has a power of two of descriptors, from 32 to 32768")
    }
    for cpu in [backendCPU, frontendCPU] where !PeerCPU.allowed.contains(cpu) {
      throw ValidationError("CPU \(cpu) is not one this process may run on (\(PeerCPU.allowed))")
    }
  }

  func run() throws {
    let measurement = Measurement(
      seconds: seconds, queues: queues, queueSize: queueSize, bursts: bursts, packed: packed, backEndCPU: backendCPU,
      frontEndCPU: frontendCPU, vdpad: try only.contains(.vdpad) ? vdpad ?? PeerProcess.builtProgram("vdpad") : "",
      logs: logs)
    if let logs { try FileManager.default.createDirectory(atPath: logs, withIntermediateDirectories: true) }
    if backendCPU == frontendCPU { note("both ends share CPU \(backendCPU): the figures say little") }
    var report = Report(backEnds: only)
    for port in ports {
      for size in sizes {
        var cell = Cell(port: port, size: size)
        for round in 0..<rounds {
          // In turns first, so that a drift of the machine's speed weighs on both.
          for kind in round.isMultiple(of: 2) ? only : only.reversed() {
            let outcome = try measurement.run(kind, port: port, size: size, round: round)
            // Figures with and without hugepages are not comparable.
            guard report.memory == nil || report.memory == outcome.memory else {
              throw PeerError(
                .invalidRun, "the front-end got other memory than before: \(outcome.memory); free more hugepages")
            }
            report.memory = outcome.memory
            cell.rates[kind, default: []].append(outcome.packetsPerSecond)
            cell.disturbance = max(cell.disturbance, outcome.disturbance ?? 0)
            note(
              "\(port) \(size) B, round \(round + 1) of \(rounds), \(kind): "
                + "\(Report.mega(outcome.packetsPerSecond)) Mpps"
                + (outcome.disturbance.map { ", \(Report.percent($0)) waiting for a CPU" } ?? ""))
          }
        }
        report.cells.append(cell)
      }
    }
    print(json ? try report.json() : report.table())
  }

  private func note(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}
