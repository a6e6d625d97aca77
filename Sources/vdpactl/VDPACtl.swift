import ArgumentParser

/// The command line of the framework: `vdpactl [options] NOUN VERB …`.
@main
struct VDPACtl: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vdpactl",
    abstract: "Look at and control vDPA engines, devices and sockets.",
    discussion: """
      All but `device scan` ask the daemon, `vdpad run`. \(ExitCode.explanation)
      """,
    subcommands: [EngineCommand.self, DeviceCommand.self, SocketCommand.self, StatsCommand.self])

  @OptionGroup var global: GlobalOptions
}
