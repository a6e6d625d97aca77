import ArgumentParser
import Control

/// `stats`: the counters of all sockets, and with `stats socket NAME` of one.
struct StatsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats",
    abstract: "Show the counters of all sockets' vrings.",
    subcommands: [OfSocket.self])

  @OptionGroup var global: GlobalOptions

  func run() throws { try global.ask(StatsMethod()) { Self.text($0) } }

  /// `stats socket NAME`
  struct OfSocket: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "socket", abstract: "Show the counters of one socket's vrings.")

    @OptionGroup var global: GlobalOptions

    @Argument(help: "The socket's name.")
    var name: String

    func run() throws { try global.ask(StatsMethod(socket: name)) { StatsCommand.text($0) } }
  }

  private static func text(_ statistics: Statistics) -> String {
    statistics.sockets.map { "\(Table.printable($0.name)) (\($0.datapath))\n" + table($0.vrings) }
      .joined(separator: "\n")
  }

  /// The columns of the table, by counter.
  private static let columns = [
    ("PACKETS", "good_packets"), ("BYTES", "good_bytes"), ("DROPPED", "dropped_packets"), ("KICKS", "kicks"),
    ("CALLS", "guest_notifications"), ("SUPPRESSED", "guest_notifications_suppressed"),
  ]

  /// A row a vring; what else has been counted stands in the last column.
  static func table(_ vrings: [VringCounters]) -> String {
    var table = Table(["VRING"] + columns.map(\.0) + ["OTHERS"])
    for vring in vrings {
      let others = vring.counters.filter { counter in
        counter.value > 0 && !columns.contains { $0.1 == counter.key }
      }
      table.add(
        [vring.name] + columns.map { vring.counters[$0.1].map(String.init) }
          + [others.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")])
    }
    return table.text
  }
}
