import ArgumentParser
import Foundation
import Peers
import VhostUser
import Virtio

/// What queues of one worker cost each other.
struct Fairness: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "One busy queue among many on one worker, and many busy ones, beside one alone.",
    discussion: """
      One vdpad serves queue pairs of one socket with one worker; the front-end is this program, whose driver costs so little \
      that vdpad is the slower side. In turns: one pair alone, one busy pair among --queues, and all of them busy. The table \
      has the medians over the rounds, and the ratios to the one alone, of which each is the median over the rounds. With \
      --instructions the daemon runs under valgrind, and the table has instructions a packet and no times: then all goes \
      some fifty times slower, so that idle queues are looked at as often as they ever are.
      """)

  /// Who has something to do.
  private enum Case: String, CaseIterable {
    case alone = "one alone"
    case among = "one busy among"
    case all = "all busy of"
  }

  @Option(help: "Queue pairs on the worker.")
  var queues = 64

  @Option(help: "How often every case is measured.")
  var rounds = 5

  @Option(help: "Seconds of traffic a measurement.")
  var seconds = 1.0

  @Option(help: "Packet length in bytes.")
  var size = 64

  @Option(help: "Descriptors a ring.")
  var queueSize = 256

  @Option(help: "What the back-end does with packets: loopback or sink.")
  var port = Port.loopback

  @Option(help: "How the worker runs: poll, adaptive or event.")
  var mode = "poll"

  @OptionGroup var ends: BothEnds

  @Flag(help: "Count instructions a packet, under valgrind.")
  var instructions = false

  @Flag(help: "JSON in place of the table.")
  var json = false

  func validate() throws {
    guard (2...128).contains(queues), rounds > 0, seconds > 0 else {
      throw ValidationError("--queues is 2 to 128; rounds and seconds are positive")
    }
    guard (60...1514).contains(size) else { throw ValidationError("--size is 60 to 1514 bytes") }
    guard queueSize.nonzeroBitCount == 1, (32...4096).contains(queueSize) else {
      throw ValidationError("--queue-size is a power of two from 32 to 4096")
    }
    guard port != .source else { throw ValidationError("--port is loopback or sink") }
    guard ["poll", "adaptive", "event"].contains(mode) else {
      throw ValidationError("--mode is poll, adaptive or event")
    }
  }

  func run() throws {
    var figures: Rounds<Case> = [:]
    for round in 0..<(instructions ? 1 : rounds) {
      // In turns first, so that a drift of the machine's speed weighs on all.
      for which in round.isMultiple(of: 2) ? Case.allCases : Case.allCases.reversed() {
        let figure = instructions ? try instructionsAPacket(which) : try rate(which)
        figures.add(figure, of: which)
      }
    }
    print(json ? try report(figures) : table(figures))
  }

  private func name(_ which: Case) -> String { which == .alone ? which.rawValue : "\(which.rawValue) \(queues)" }

  private func table(_ figures: Rounds<Case>) -> String {
    textTable(
      [["\(port), \(size) B, \(mode)", instructions ? "instructions/packet" : "Mpps", "to one alone"]]
        + Case.allCases.map { which in
          let median = figures.median(which)
          return [
            name(which), instructions ? median.map { Figure.fixed($0, 1) } ?? "-" : Figure.mega(median),
            figures.ratio(which, to: .alone).map { Figure.fixed($0, 3) } ?? "-",
          ]
        })
  }

  private struct Row: Encodable {
    let queues: String
    /// Packets a second, or instructions a packet, of every round.
    let rounds: [Double]
    let ratio: Double?
  }

  private func report(_ figures: Rounds<Case>) throws -> String {
    let rows = Case.allCases.map {
      Row(queues: name($0), rounds: figures[$0], ratio: figures.ratio($0, to: .alone))
    }
    return try jsonText(rows)
  }

  // MARK: Measuring

  /// Packets a second.
  private func rate(_ which: Case) throws -> Double {
    try withTraffic(which, mode: mode) { turner, _ in
      try turner.start()
      defer { turner.stop() }
      Thread.sleep(forTimeInterval: 0.2)
      let (before, start) = (turner.packets, ContinuousClock.now)
      Thread.sleep(forTimeInterval: seconds)
      let (after, time) = (turner.packets, ContinuousClock.now - start)
      guard after > before else { throw PeerError(.invalidRun, "no packet moved: \(name(which))") }
      return Double(after - before) / (Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18)
    }
  }

  /// Instructions a packet: what twice as many packets cost more, so that the start counts for nothing. The worker is
  /// adaptive, or it would look for packets all the time until it is ended.
  private func instructionsAPacket(_ which: Case) throws -> Double {
    let (few, many) = (200_000.0, 600_000.0)
    let counts = try [few, many].map { packets in
      try withTraffic(
        which, mode: "adaptive", wrapper: ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
      ) { turner, process in
        try turner.start(limit: UInt64(packets))
        while turner.packets < UInt64(packets) {
          guard process.exitStatus == nil else {
            throw PeerError(.exited, "vdpad has ended", outputTail: process.outputTail())
          }
          Thread.sleep(forTimeInterval: 0.01)
        }
        turner.stop()
        process.terminate(grace: .seconds(30))
        guard let match = process.output().firstMatch(of: #/Collected : (\d+)/#), let count = Double(match.output.1)
        else {
          throw PeerError(.badAnswer, "valgrind has counted nothing", outputTail: process.outputTail())
        }
        return (count, Double(turner.packets))
      }
    }
    return (counts[1].0 - counts[0].0) / (counts[1].1 - counts[0].1)
  }

  /// Starts a back-end and a front-end of its pairs.
  private func withTraffic<Result>(
    _ which: Case, mode: String, wrapper: [String] = [], _ body: (RingTurner, PeerProcess) throws -> Result
  ) throws -> Result {
    let pairs = which == .alone ? 1 : queues
    let scratch = try ScratchDirectory("fairness")
    let socket = scratch.file("sock")
    var program = try ends.daemon()
    if !wrapper.isEmpty {
      // Valgrind does not get along with all debugging information.
      let stripped = scratch.file("vdpad")
      let strip = try PeerProcess(
        "strip", ["--strip-debug", "-o", stripped, program], hint: "package binutils installs it")
      guard try strip.waitForExit(timeout: .seconds(60)) == .exited(0) else {
        throw PeerError(.badFile, "\(program) cannot be copied for valgrind", outputTail: strip.outputTail())
      }
      program = stripped
    }
    let command =
      wrapper + [
        program, "serve", "--socket-path", socket, "--port", "\(port)", "--\(mode)", "--cpu", "\(ends.backendCPU)",
        "--queues", "\(pairs)",
      ]
    let process = try PeerProcess(
      command[0], Array(command.dropFirst()),
      hint: "`swift build -c release --product vdpad` makes vdpad, package valgrind valgrind")
    defer { process.terminate() }
    try ListeningSocket.wait(at: socket, by: process, timeout: .seconds(60))
    let frontend = Frontend(try FrontendConnection(path: socket, timeout: .seconds(60)))
    try frontend.negotiate(required: .version1)
    let guest = try FrontendGuest(
      features: frontend.features, vringCount: 2 * pairs, ringSize: queueSize,
      bufferBytes: RingTurner.bufferBytes(ringSize: queueSize) * pairs)
    try guest.start(over: frontend)
    let busy = which == .all ? 0..<pairs : pairs - 1..<pairs
    return try withExtendedLifetime(guest) {
      try body(try RingTurner(guest, pairs: busy, length: size, cpu: ends.frontendCPU), process)
    }
  }
}
