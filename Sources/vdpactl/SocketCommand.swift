import ArgumentParser
import Control

/// The noun `socket`.
struct SocketCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "socket",
    abstract: "Vhost-user sockets, and which device serves each.",
    subcommands: [List.self, Show.self, Add.self, Remove.self, Bind.self, Unbind.self, Rebind.self])

  /// `socket list`
  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the sockets of the daemon.")

    @OptionGroup var global: GlobalOptions

    func run() throws {
      try global.ask(SocketMethod.List()) { sockets in
        var table = Table(["NAME", "TYPE", "ROLE", "QUEUES", "DEVICE", "DATAPATH", "CONNECTED", "PATH", "STATE"])
        for socket in sockets {
          table.add([
            socket.name, socket.type, socket.role, "\(socket.queues)", "\(socket.binding)", socket.datapath,
            socket.connected ? "yes" : "no", socket.path, socket.state,
          ])
        }
        return table.text
      }
    }
  }

  /// `socket show NAME`
  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show a socket, its candidates and its vrings.")

    @OptionGroup var global: GlobalOptions

    @Argument(help: "The socket's name.")
    var name: String

    func run() throws {
      try global.ask(SocketMethod.Show(name: name)) { socket in
        let fields = Table.fields([
          ("name", socket.name), ("path", socket.path), ("role", socket.role), ("type", socket.type),
          ("queues", "\(socket.queues)"), ("device", "\(socket.summary.binding)"), ("datapath", socket.datapath),
          ("candidates", socket.candidates.map { "\($0)" }.joined(separator: " ")),
          ("connected", socket.connected ? "yes" : "no"), ("state", socket.summary.state),
          ("device failures", "\(socket.deviceFailures)"), ("failover", socket.failover),
          ("failovers", "\(socket.failovers)" + (socket.failoverReason.map { ", last because \($0)" } ?? "")),
        ])
        return fields + (socket.vrings.isEmpty ? "" : "\n" + StatsCommand.table(socket.vrings))
      }
    }
  }

  /// `socket remove NAME`
  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "End a socket's connection, close it and remove its file.")

    @OptionGroup var global: GlobalOptions

    @Argument(help: "The socket's name.")
    var name: String

    func run() throws { try global.ask(SocketMethod.Remove(name: name)) { _ in "" } }
  }
}

extension SocketSummary {
  /// In words, for people.
  fileprivate var state: String { ready ? "ready" : "not ready: \(notReadyReason ?? "")" }
}
