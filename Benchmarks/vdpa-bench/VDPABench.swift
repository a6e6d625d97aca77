import ArgumentParser

/// The benchmarks; without a name the one that compares with DPDK.
@main
struct VDPABench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vdpa-bench",
    abstract:
      "Measures this project: packets beside DPDK, blocks beside QEMU, latency, many queues and connections at once.",
    subcommands: [
      Throughput.self, Block.self, Rings.self, Instructions.self, CountedTurns.self, Fairness.self, Latency.self,
      Connections.self,
      ConnectionsBackEnd.self,
    ],
    defaultSubcommand: Throughput.self)
}
