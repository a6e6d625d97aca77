import ArgumentParser
import Foundation
import Peers
import VDPA
import VhostUser
import Virtio

/// How long a packet takes that finds its worker idle.
struct Latency: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "From a kick to the packet back, over an idle vdpad; and the CPU that it takes while idle.",
    discussion: """
      The front-end is this program. It sends one packet at a time to a loopback port, after a pause of random length in which \
      the worker has nothing to do, and looks for it to come back all the time: measured is from before the kick to the packet \
      in the guest's memory. The modes take turns over the rounds. Then nothing is sent for --idle seconds, of which the share \
      is shown that vdpad's threads ran. "waiting" is the share of the measurement in which another program had the CPU of \
      either end: beyond some percent, repeat it on an idle machine.
      """)

  /// What was found of a mode.
  private struct Outcome {
    var latencies = Latencies()
    var disturbances: [Double] = []
    var idleShares: [Double] = []
  }

  @Option(
    help: "How the worker runs: some of event, adaptive, poll.",
    transform: { try list($0) { ["event", "adaptive", "poll"].contains($0) ? $0 : nil } })
  var modes = ["event", "adaptive", "poll"]

  @Option(help: "Packets a round and mode.")
  var samples = 1000

  @Option(help: "How often every mode is measured.")
  var rounds = 3

  @Option(help: "The longest pause before a packet in microseconds; the shortest is a tenth of it.")
  var gap = 2000

  @Option(help: "Seconds without a packet a round and mode.")
  var idle = 2.0

  @Option(help: "Packet length in bytes.")
  var size = 64

  @Flag(help: "Packed rings.")
  var packed = false

  @OptionGroup var ends: BothEnds

  @Flag(help: "JSON in place of tables and histograms.")
  var json = false

  func validate() throws {
    guard samples > 0, rounds > 0, (10...1_000_000).contains(gap), (0...3600).contains(idle) else {
      throw ValidationError("samples and rounds are positive, --gap is 10 to 1000000, --idle 0 to 3600")
    }
    guard (60...1514).contains(size) else { throw ValidationError("--size is 60 to 1514 bytes") }
  }

  func run() throws {
    ends.warnIfShared()
    var outcomes: [String: Outcome] = [:]
    for round in 0..<rounds {
      for mode in round.isMultiple(of: 2) ? modes : modes.reversed() {
        try measure(mode, into: &outcomes[mode, default: Outcome()])
      }
    }
    print(json ? try report(outcomes) : text(outcomes))
  }

  // MARK: Measuring

  private func measure(_ mode: String, into outcome: inout Outcome) throws {
    let scratch = try ScratchDirectory("latency")
    let socket = scratch.file("sock")
    let process = try PeerProcess(
      try ends.daemon(),
      ["serve", "--socket-path", socket, "--port", "loopback", "--\(mode)", "--cpu", "\(ends.backendCPU)"],
      hint: "`swift build -c release --product vdpad` makes it")
    defer { process.terminate() }
    try ListeningSocket.wait(at: socket, by: process)
    let frontend = Frontend(try FrontendConnection(path: socket))
    try frontend.negotiate(required: packed ? [.version1, .packedRing] : .version1)
    let guest = try FrontendGuest(
      features: frontend.features, vringCount: 2, ringSize: 64, bufferBytes: 2 * SinglePackets.bufferLength)
    try guest.start(over: frontend)
    let packets = try SinglePackets(guest, length: size)
    // Caches, and what is resolved at the first call.
    _ = try packets.run(20, gap: gap, cpu: ends.frontendCPU)
    let disturbance = Disturbance(of: process.pid, getpid())
    let samples = try packets.run(samples, gap: gap, cpu: ends.frontendCPU)
    for sample in samples { outcome.latencies.add(sample) }
    outcome.disturbances.append(disturbance.share() ?? 0)
    guard idle > 0, let busy = process.runTime else { return }
    let start = MonotonicClock.nanoseconds
    Thread.sleep(forTimeInterval: idle)
    guard let ran = process.runTime else { return }
    outcome.idleShares.append(Double(ran &- busy) / Double(MonotonicClock.nanoseconds - start))
    try guest.stop()
  }

  // MARK: Reports

  private static let shares = [("min", 0.0), ("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1)]

  private func text(_ outcomes: [String: Outcome]) -> String {
    var parts: [String] = []
    for mode in modes {
      guard let outcome = outcomes[mode] else { continue }
      parts.append("\(mode): kick to packet back, \(outcome.latencies.count) packets of \(size) B")
      parts.append(outcome.latencies.histogram() + "\n")
    }
    let table = textTable(
      [["mode"] + Latency.shares.map { "\($0.0) µs" } + ["idle CPU", "waiting"]]
        + modes.compactMap { mode in
          outcomes[mode].map { outcome in
            [mode] + Latency.shares.map { Figure.fixed(outcome.latencies.percentile($0.1), 1) } + [
              outcome.idleShares.median.map { Figure.fixed($0 * 100, 2) + " %" } ?? "-",
              outcome.disturbances.median.map(Figure.percent) ?? "-",
            ]
          }
        })
    return (parts + [table]).joined(separator: "\n")
  }

  private struct Row: Encodable {
    let mode: String
    let packets: Int
    let microseconds: [String: Double]
    /// The share of the time without a packet that the daemon's threads ran, of each round.
    let idleCPU: [Double]
    let disturbance: Double?
  }

  private func report(_ outcomes: [String: Outcome]) throws -> String {
    let rows = modes.compactMap { mode in
      outcomes[mode].map { outcome in
        Row(
          mode: mode, packets: outcome.latencies.count,
          microseconds: Dictionary(
            uniqueKeysWithValues: Latency.shares.map { ($0.0, outcome.latencies.percentile($0.1)) }),
          idleCPU: outcome.idleShares, disturbance: outcome.disturbances.median)
      }
    }
    return try jsonText(rows)
  }
}
