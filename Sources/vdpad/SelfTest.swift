import ArgumentParser
import Glibc
import VDPA
import VhostUser
import Virtio

/// `vdpad self-test`: a front-end that sends numbered packets to a running back-end with a loopback port.
struct SelfTest: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check a running back-end: send numbered packets through it and look at what comes back.",
    discussion: """
      Connects as a front-end, without a VM, to a net socket whose back-end gives every packet back, such as that of \
      `vdpad serve --port loopback`. Every packet says which one it is and when it was sent; content, order, gaps and \
      repetitions are checked. Exits with 1 if anything is wrong.
      """)

  @Option(help: ArgumentHelp("The socket that the back-end listens at.", valueName: "path"))
  var socketPath: String

  @Option(help: ArgumentHelp("How many queue pairs to use (default all that the back-end has).", valueName: "count"))
  var queues: Int?

  @Option(help: ArgumentHelp("How many packets to send on each pair.", valueName: "count"))
  var packets = 100_000

  @Option(help: ArgumentHelp("Descriptors of each ring.", valueName: "count"))
  var ringSize = 512

  @Option(help: ArgumentHelp("How many packets of a pair may be with the back-end at one time.", valueName: "count"))
  var window = 256

  @Flag(help: "Use packed rings.")
  var packed = false

  @Option(
    help: ArgumentHelp(
      "How long to wait for an answer, and for packets before they count as lost.", valueName: "seconds"))
  var timeout = 5

  @Option(
    help: ArgumentHelp(
      "When the back-end goes, wait that long for it to come back, and go on (default 0: it must not go).",
      valueName: "seconds"))
  var reconnect = 0

  @Flag(name: .shortAndLong, help: "Print JSON, for scripts.")
  var json = false

  func validate() throws {
    guard (1...1_000_000_000).contains(packets) else { throw ValidationError("--packets is 1 to 1000000000") }
    guard queues.map({ (1...128).contains($0) }) ?? true else { throw ValidationError("--queues is 1 to 128") }
    guard (2...32768).contains(ringSize), packed || ringSize.nonzeroBitCount == 1 else {
      throw ValidationError("--ring-size is 2 to 32768, and a power of two unless --packed")
    }
    guard window >= 1 else { throw ValidationError("--window is at least 1") }
    guard (1...3600).contains(timeout), (0...3600).contains(reconnect) else {
      throw ValidationError("--timeout is 1 to 3600 seconds, --reconnect 0 to 3600")
    }
  }

  func run() throws {
    signal(SIGPIPE, SIG_IGN)
    let frontend = Frontend(try FrontendConnection(path: socketPath, timeout: .seconds(timeout)))
    try frontend.negotiate(
      [.netMergeableBuffers, .indirectDescriptors, .eventIndex],
      required: packed ? [.version1, .packedRing] : .version1)
    let pairs = queues ?? frontend.queueCount
    guard pairs <= frontend.queueCount else {
      throw ValidationError("--queues \(pairs): the back-end has \(frontend.queueCount)")
    }
    let guest = try FrontendGuest(
      features: frontend.features, vringCount: 2 * pairs, ringSize: ringSize,
      bufferBytes: NumberedTraffic.bufferBytes(ringSize: ringSize, pairs: pairs))
    var configuration = NumberedTraffic.Configuration()
    configuration.window = window
    let traffic = try NumberedTraffic(guest, configuration)
    traffic.want(UInt64(packets))
    let start = MonotonicClock.nanoseconds
    var failure: (any Error)?
    do {
      try run(traffic, over: frontend)
    } catch {
      failure = error
    }
    let seconds = Double(MonotonicClock.nanoseconds - start) / 1e9
    let report = SelfTestReport(pairs: traffic.reports, seconds: seconds, failure: failure.map { "\($0)" })
    print(json ? report.json : report.text)
    if !report.isClean { throw ExitCode.failure }
  }

  /// Runs the traffic to its end, over one back-end after the other if need be.
  private func run(_ traffic: NumberedTraffic, over first: Frontend) throws(VhostUserError) {
    var first: Frontend? = first
    var received: UInt64 = 0
    var deadline: ContinuousClock.Instant?
    while true {
      do throws(VhostUserError) {
        if let first {
          try traffic.guest.start(over: first)
        } else {
          try traffic.reconnect(over: try connectAgain(traffic.guest.features))
        }
        try traffic.run(patience: .seconds(timeout))
        try traffic.guest.stop()
        return
      } catch {
        first = nil
        // A back-end that comes back, and goes before it has done anything, is not one that has come back.
        let now = traffic.reports.reduce(0) { $0 + $1.received }
        if now > received { deadline = nil }
        received = now
        let end = deadline ?? .now + .seconds(reconnect)
        deadline = end
        guard error.code == .disconnected, .now < end else { throw error }
      }
    }
  }

  private func connectAgain(_ features: Features) throws(VhostUserError) -> Frontend {
    let connection = try FrontendConnection(path: socketPath, timeout: .seconds(reconnect), waitsForListener: true)
    connection.timeout = .seconds(timeout)
    let frontend = Frontend(connection)
    try frontend.negotiate(features, required: features)
    return frontend
  }
}
