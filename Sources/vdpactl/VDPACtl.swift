import ArgumentParser

/// The command line of the framework: `vdpactl [options] NOUN VERB …`.
@main
struct VDPACtl: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vdpactl",
    abstract: "Look at and control vDPA engines, devices and sockets.",
    subcommands: [DeviceCommand.self])

  @OptionGroup var global: GlobalOptions
}
