import ArgumentParser
import Datapath
import Logging

/// `vdpad run`: the daemon with many sockets, which `vdpactl` tells what to do.
struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run the daemon that vdpactl controls.",
    discussion: """
      Begins without an engine and without a socket: `vdpactl engine add` and `vdpactl socket add` make them. Stays in the \
      foreground; ends with 0 on SIGTERM or SIGINT and removes the sockets it made. The superuser, its own user, and the group \
      of the control socket, whose mode is 0660, may tell it what to do.
      """)

  @Option(help: ArgumentHelp("Where the control socket is made.", valueName: "path"))
  var control = "/run/vdpad.sock"

  @Option(help: ArgumentHelp("trace, debug, info, notice, warning or error.", valueName: "level"))
  var logLevel = "info"

  func run() throws {
    try RunService(control: control, logLevel: try ServeSettings.level(logLevel)).run()
  }
}
