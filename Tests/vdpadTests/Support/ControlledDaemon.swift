import Control
import Foundation
import Glibc
import Peers

/// A running `vdpad run`, and `vdpactl`s that tell it what to do; both are those built with these tests.
final class ControlledDaemon: Sendable {
  let process: PeerProcess
  /// Its control socket.
  let control: String
  private let scratch: ScratchDirectory

  /// Starts it and waits until it listens.
  init() throws {
    scratch = try ScratchDirectory("run")
    control = scratch.file("control")
    process = try Daemon.start(["run", "--control", control, "--log-level", "debug"])
    try process.waitForText("listening at \(control)")
  }

  /// The path of a file in a folder that is removed with the daemon.
  func file(_ name: String) -> String { scratch.file(name) }

  /// Runs `vdpactl` to its end.
  func vdpactl(_ arguments: String...) throws -> (status: Peers.ExitStatus, output: String) {
    try Self.run(PeerProcess(PeerProcess.builtProgram("vdpactl"), ["--control", control] + arguments))
  }

  static func run(_ process: PeerProcess) throws -> (status: Peers.ExitStatus, output: String) {
    let status = try process.waitForExit(timeout: .seconds(60))
    // What was printed may still be on its way: a text that never comes is given up with the last of it.
    _ = try? process.waitForText("\u{0}", timeout: .seconds(5))
    return (status, process.output())
  }

  /// Its JSON, for one that has to succeed.
  func json<Answer: Decodable>(_ arguments: String...) throws -> Answer {
    let (status, output) = try Self.run(
      PeerProcess(PeerProcess.builtProgram("vdpactl"), ["--control", control, "-j"] + arguments))
    guard status == .exited(0) else { throw PeerError(.badAnswer, "vdpactl \(arguments)", outputTail: output) }
    return try Answer(json: Array(output.utf8))
  }

  /// One that has to succeed; what it prints.
  @discardableResult
  func does(_ arguments: String...) throws -> String {
    let (status, output) = try Self.run(
      PeerProcess(PeerProcess.builtProgram("vdpactl"), ["--control", control] + arguments))
    guard status == .exited(0) else { throw PeerError(.badAnswer, "vdpactl \(arguments)", outputTail: output) }
    return output
  }

  func client() throws -> ControlClient { try ControlClient(path: control, patience: 30) }

  /// Ends it as an operator does, and waits.
  func end() throws -> Peers.ExitStatus {
    process.signal(SIGTERM)
    return try process.waitForExit(timeout: .seconds(10))
  }
}
