import ArgumentParser

/// The benchmarks; without a name the one that compares with DPDK.
@main
struct VDPABench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vdpa-bench",
    abstract: "Measures this project: its packets a second beside DPDK's, and many connections at once.",
    subcommands: [
      Throughput.self, Rings.self, Instructions.self, CountedTurns.self, Connections.self, ConnectionsBackEnd.self,
    ],
    defaultSubcommand: Throughput.self)
}
