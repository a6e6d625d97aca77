import ArgumentParser
import Logging

/// The demo: a daemon whose two sockets are served by two datapaths, and a real front-end for each.
@main
struct FirstLight: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "first-light",
    abstract: "Packets of a real front-end through both datapaths.",
    discussion: """
      Starts a daemon with two vhost-user sockets, one bound to a device of the simulator engine and one that the \
      software datapath serves, and drives each with dpdk-testpmd. "Packets in" were taken from the front-end, "packets \
      out" given back to it. A lost packet, or a datapath other than the one the socket is bound to, is a failure.
      """)

  @Option(help: "Seconds of traffic on each socket.")
  var seconds = 2.0

  @Flag(help: "JSON in place of the table.")
  var json = false

  @Option(help: ArgumentHelp("Be the daemon, with the sockets in this directory.", visibility: .hidden))
  var daemon: String?

  func validate() throws {
    guard seconds > 0, seconds <= 3600 else { throw ValidationError("--seconds is more than 0, and 3600 at most") }
  }

  func run() throws {
    if let daemon { try serve(in: daemon) } else { try demonstrate() }
  }

  private func serve(in directory: String) throws {
    // Standard output is for answers and events.
    LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
    let daemon = try Daemon(directory: directory)
    try daemon.run()
    try daemon.stop()
  }

  private func demonstrate() throws {
    let daemon = try DaemonProcess()
    Console.note("a daemon (process \(daemon.id)) listens on two sockets: one bound to the simulator, one not bound")
    let driver = Driver(daemon: daemon, seconds: seconds)
    let observations = try DemoSocket.allCases.map(driver.observe)
    try daemon.quit()
    let report = Report(observations)
    Console.print(json ? try report.json() : report.table())
    if let failure = observations.lazy.compactMap(\.failure).first { throw failure }
  }
}
