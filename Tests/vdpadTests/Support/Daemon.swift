import Foundation
import Peers
import SystemPackage
import Testing

/// A running `vdpad serve`, the one built with these tests, and what can be seen of it from outside.
final class Daemon: Sendable {
  let process: PeerProcess
  let path: String
  private let scratch: ScratchDirectory

  /// Starts it and waits until it listens.
  convenience init(_ options: String...) throws { try self.init(options) }

  init(_ options: [String]) throws {
    scratch = try ScratchDirectory("vdpad")
    path = scratch.file("sock")
    process = try Daemon.start(["serve", "--socket-path", path, "--log-level", "debug"] + options)
    try ListeningSocket.wait(at: path, by: process)
    // Otherwise a signal could meet it before it has begun to wait.
    try process.waitForText("listening")
  }

  /// Starts the program with any arguments.
  static func start(_ arguments: [String], input: FileDescriptor? = nil) throws -> PeerProcess {
    try PeerProcess(PeerProcess.builtProgram("vdpad"), arguments, standardInput: input)
  }

  /// A run to the end: how it ended and what it printed.
  static func run(_ arguments: [String]) throws -> (status: Peers.ExitStatus, output: String) {
    let process = try PeerProcess(PeerProcess.builtProgram("vdpad"), arguments)
    let status = try process.waitForExit(timeout: .seconds(10))
    // What was printed may still be on its way: a text that never comes is given up with the last of it.
    _ = try? process.waitForText("\u{0}", timeout: .seconds(5))
    return (status, process.output())
  }

  /// What it holds at this moment.
  var holdings: Holdings { Holdings(of: process) }

  /// What it holds once it has let go of all that it is letting go of, for a comparison before and after.
  func settledHoldings() throws -> Holdings { try Holdings.settled(of: process) }

  /// Waits until it holds what it held `before`; what it holds then.
  func settled(to before: Holdings) -> Holdings { Holdings.settled(of: process, to: before) }

  /// Ends it as an operator does, and waits.
  func end() throws -> Peers.ExitStatus {
    process.signal(SIGTERM)
    return try process.waitForExit(timeout: .seconds(10))
  }
}

/// Whether `condition` comes true in time.
func becomesTrue(
  within time: Duration = .seconds(10), every interval: TimeInterval = 0.002, _ condition: () -> Bool
) -> Bool {
  let deadline = ContinuousClock.now + time
  while !condition() {
    guard ContinuousClock.now < deadline else { return false }
    Thread.sleep(forTimeInterval: interval)
  }
  return true
}
