import ArgumentParser
import Datapath
import Logging
import VDPA
import VhostUser

/// The other side of ``Connections``: a process of its own, so that what it holds is nobody else's.
struct ConnectionsBackEnd: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "connections-backend", abstract: "Serves sockets until it is killed.", shouldDisplay: false)

  /// What it prints when all of its sockets can be connected to.
  static let ready = "all sockets are there"

  @Option(help: "Where the sockets are made; they are called 0, 1, 2 and so on.")
  var folder: String

  @Option(help: "How many.")
  var count: Int

  @Option(help: "Threads for sessions.")
  var threads: Int

  func run() throws {
    OpenFileLimit.raise()
    let registry = Registry(software: try SoftwareEngine())
    let sessionThreads = try SessionThreads(count: threads)
    var logger = Logger(label: "connections")
    logger.logLevel = .error
    let sockets = (0..<count).map { i in
      VhostUserSocket(
        SocketConfiguration(endpoint: .listen(path: "\(folder)/\(i)")), registry: registry, threads: sessionThreads,
        logger: logger)
    }
    for socket in sockets { try socket.start() }
    // To a pipe it would wait for a full buffer.
    logger.error("\(Self.ready)")
    withExtendedLifetime(sockets) {
      while readLine() != nil {}
    }
  }
}
