import ArgumentParser

/// The benchmarks; without a name the one that compares with DPDK.
@main
struct VDPABench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vdpa-bench",
    abstract:
      "Measures this project: its packets a second beside DPDK's, its latency, and many queues and connections at once.",
    subcommands: [
      Throughput.self, Rings.self, Instructions.self, CountedTurns.self, Fairness.self, Latency.self, Connections.self,
      ConnectionsBackEnd.self,
    ],
    defaultSubcommand: Throughput.self)
}
