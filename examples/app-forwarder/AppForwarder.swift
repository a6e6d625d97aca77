import ArgumentParser
import Datapath
import Foundation
import Synchronization
import VDPA
import VhostUser
import Virtio

/// A patch cable between two guests: what one sends, the other receives, by two threads of the application's own.
///
///     app-forwarder --left /run/a.sock --right /run/b.sock
@main
struct AppForwarder: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "app-forwarder", abstract: "A patch cable between the guests of two vhost-user sockets.")

  @Option(help: "Listen on a Unix socket at this path.")
  var left: String

  @Option(help: "Listen on a Unix socket at this path.")
  var right: String

  @Flag(help: "Look for packets all the time, in place of sleeping until a guest kicks.")
  var poll = false

  func run() throws {
    // Before the first thread, so that no thread takes a signal away from the one that waits for it.
    var ending = sigset_t()
    unsafe sigemptyset(&ending)
    for signal in [SIGTERM, SIGINT] { unsafe sigaddset(&ending, signal) }
    unsafe pthread_sigmask(SIG_BLOCK, &ending, nil)

    // A front-end that takes back the memory which it has shared is not the end of the process.
    try BusErrorGuard.install()
    // Two sockets whose queues nobody serves but this program.
    let software = try SoftwareEngine()
    let registry = Registry(software: software)
    let threads = try SessionThreads()
    let ports = try ["left", "right"].map { try software.makeApplicationPort(named: $0) }
    let sockets = zip([left, right], ports).map { path, port in
      VhostUserSocket(
        SocketConfiguration(endpoint: .listen(path: path), parameters: port.parameters), registry: registry,
        threads: threads)
    }
    for socket in sockets { try socket.start() }

    // One thread a direction: the queues of a pair need not be on the same one.
    let pool = try PacketPool(count: 1024)
    let (one, other) = (ports[0].pairs[0], ports[1].pairs[0])
    let directions = [
      Direction(from: one.transmit, to: other.receive, pool: pool, isPolling: poll),
      Direction(from: other.transmit, to: one.receive, pool: pool, isPolling: poll),
    ]
    for direction in directions { direction.start() }

    var signal: CInt = 0
    unsafe sigwait(&ending, &signal)
    for direction in directions { direction.stop() }
    for socket in sockets { socket.stop() }
    threads.stop()
    software.stop()
    for (port, direction) in zip(ports, directions) {
      let sent = port.pairs[0].transmit.statistics
      print("\(port.name): \(sent.packets) packets, \(sent.bytes) bytes, \(direction.dropped) dropped at the other end")
    }
  }
}
