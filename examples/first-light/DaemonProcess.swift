import Peers

/// The daemon as the demo sees it: a process that is asked for its status.
struct DaemonProcess {
  private let process: PeerProcess
  private let scratch: ScratchDirectory

  /// Starts this program again as the daemon, and waits until its sockets are listened on.
  init() throws {
    scratch = try ScratchDirectory("first-light")
    process = try PeerProcess(
      PeerProcess.builtProgram("first-light"), ["--daemon", scratch.path], displayName: "the daemon")
    for socket in DemoSocket.allCases { try ListeningSocket.wait(at: path(of: socket), by: process) }
  }

  func path(of socket: DemoSocket) -> String { socket.path(in: scratch.path) }

  var id: Int32 { process.pid }

  /// The last that it printed.
  var outputTail: String { process.outputTail() }

  func status() throws -> DaemonStatus {
    let mark = process.mark
    try process.send(line: "status")
    // A whole line: events may stand before it.
    return try DaemonStatus(line: String(process.waitForMatch(of: /(?m)^(\{.*\})\n/, since: mark).1))
  }

  /// Ends it, which it has to do in order.
  func quit() throws {
    try process.send(line: "quit")
    let status = try process.waitForExit(timeout: .seconds(5))
    guard status == .exited(0) else {
      throw DemoFailure("the daemon \(status) instead of ending in order; it printed last:\n\(outputTail)")
    }
  }
}
