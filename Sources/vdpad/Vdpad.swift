import ArgumentParser

/// The daemon's command line.
struct Vdpad: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vdpad",
    abstract: "Serves virtqueues that VMs and containers offer over vhost-user sockets.",
    subcommands: [Run.self, Serve.self, SelfTest.self])
}
