import ArgumentParser
import CLinux
import Foundation
import Peers

/// Compares this project's block device with `qemu-storage-daemon`'s export of the same file.
struct Block: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Requests a second of the same front-end against vdpad and qemu-storage-daemon on the same file.",
    discussion: """
      What `qemu-img bench` does: a number of requests under way, each followed by the next. The front-end is this \
      program's own, for Debian's QEMU cannot reach a vhost-user socket with its tools (it is built without libblkio). \
      Each round starts all back-ends afresh, one after the other and in turns first, on a file in the page cache. The \
      table has the medians over the rounds; a ratio is to the better of qemu-storage-daemon's two ways in the same \
      round, the median over the rounds; "waiting" is the worst share of a measurement in which another program had \
      the front-end's CPU: beyond some percent, repeat it on an idle machine. (Of the back-end's CPU that cannot be told: \
      its threads wait for one another there.)
      """)

  @Option(help: "How often every load is measured with each back-end.")
  var rounds = 5

  @Option(help: "Seconds a measurement.")
  var seconds = 1.0

  @Option(help: "Requests under way.")
  var depth = 32

  @Option(help: "The length of a request in bytes.")
  var length = 4096

  @Option(help: "Reads, writes or both.", transform: { try list($0) { BlockLoad.Direction(rawValue: $0) } })
  var directions = BlockLoad.Direction.allCases

  @Option(help: "sequential, random or both.", transform: { try list($0) { BlockLoad.Order(rawValue: $0) } })
  var orders = BlockLoad.Order.allCases

  @Option(help: "Where the file is made: the file system matters (default: the temporary directory).")
  var folder = FileManager.default.temporaryDirectory.path

  @Option(help: "The file's size in MiB.")
  var size = 256

  @Flag(help: "The front-end waits for calls in place of polling, as an event loop does.")
  var sleep = false

  @OptionGroup var ends: BothEnds

  @Option(
    help: "Only these back-ends: vdpad, vdpad-poll, qsd-uring, qsd-threads.",
    transform: { try list($0) { BlockServer(rawValue: $0) } })
  var only = BlockServer.allCases

  @Option(help: "A directory for the output of every program that is run.")
  var logs: String?

  @Flag(help: "JSON in place of the table.")
  var json = false

  func validate() throws {
    guard rounds > 0, seconds > 0, size > 0 else {
      throw ValidationError("rounds, seconds and size have to be positive")
    }
    guard (1...1024).contains(depth) else { throw ValidationError("1 to 1024 requests can be under way") }
    guard length > 0, length % 512 == 0, length <= 1 << 20 else {
      throw ValidationError("a request has whole sectors of 512 bytes, up to 1 MiB")
    }
  }

  func run() throws {
    let daemon = try only.allSatisfy(\.isReference) ? "" : ends.daemon()
    if let logs { try FileManager.default.createDirectory(atPath: logs, withIntermediateDirectories: true) }
    ends.warnIfShared()
    let path = folder + "/vdpa-bench-\(ProcessInfo.processInfo.processIdentifier).img"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try makeFile(path)
    // The programs that are started get their own.
    var cpu = Int32(ends.frontendCPU)
    guard unsafe clinux_pin(&cpu, 1) == 0 else {
      throw PeerError(.invalidRun, "the front-end cannot be pinned to CPU \(ends.frontendCPU)")
    }
    var report = BlockReport(servers: only)
    for direction in directions {
      for order in orders {
        var row = BlockReport.Row(load: BlockLoad(direction: direction, order: order, length: length, depth: depth))
        for round in 0..<rounds {
          // In turns first, so that a drift of the machine's speed weighs on all.
          let shift = round % only.count
          for server in only[shift...] + only[..<shift] {
            try measure(server, file: path, daemon: daemon, round: round, into: &row)
          }
        }
        report.rows.append(row)
      }
    }
    print(json ? try report.json() : report.table())
  }

  /// One back-end, started for one load of one round.
  private func measure(
    _ server: BlockServer, file: String, daemon: String, round: Int, into row: inout BlockReport.Row
  ) throws {
    let scratch = try ScratchDirectory("bench")
    let socket = scratch.file("sock")
    let process = try server.start(
      file: file, socket: socket, cpu: ends.backendCPU, queues: 1, vdpad: daemon,
      log: logs.map { "\($0)/\(row.load.order)-\(row.load.direction)-\(round + 1)-\(server).log" })
    defer { process.terminate() }
    let frontEnd = try BlockFrontEnd(socket: socket, load: row.load, sleeps: sleep)
    // Past the first requests, with caches and branch predictors warm.
    _ = try frontEnd.run(seconds: 0.2)
    let disturbance = Disturbance(of: getpid())
    let outcome = try frontEnd.run(seconds: seconds)
    let share = disturbance.share()
    try frontEnd.stop()
    row.rates.add(outcome.perSecond, of: server)
    row.disturbance = max(row.disturbance, share ?? 0)
    note(
      "\(row.load.order) \(row.load.direction), round \(round + 1) of \(rounds), \(server): "
        + "\(Figure.fixed(outcome.perSecond / 1000, 1)) k/s, \(outcome.kicks) kicks, \(outcome.calls) calls"
        + (share.map { ", \(Figure.percent($0)) waiting for a CPU" } ?? ""))
  }

  /// A file without holes, all of it in the page cache.
  private func makeFile(_ path: String) throws {
    guard FileManager.default.createFile(atPath: path, contents: nil), let file = FileHandle(forWritingAtPath: path)
    else { throw PeerError(.badFile, "\(path) cannot be made") }
    let piece = Data((0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 8) })
    for _ in 0..<size { try file.write(contentsOf: piece) }
    try file.synchronize()
    try file.close()
  }
}
