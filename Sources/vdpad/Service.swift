import Datapath
import Glibc
import Logging
import VDPA
import VhostUser
import Virtio

/// Runs what `vdpad serve` was asked for, until it is told to end.
struct Service {
  private let settings: ServeSettings

  init(_ settings: ServeSettings) { self.settings = settings }

  func run() throws {
    let platform = try Platform(workers: settings.workers, logLevel: settings.logLevel)
    defer { platform.stop() }
    let (registry, ending, logger) = (platform.registry, platform.ending, platform.logger)

    let sockets = settings.sockets.map {
      VhostUserSocket($0, registry: registry, threads: platform.threads, logger: logger)
    }
    var engine: EngineHandle?
    if let wanted = settings.engine {
      let handle = try registry.addEngine(
        driver: wanted.driver, at: EngineAddress("virtual", parameters: wanted.parameters))
      engine = handle
      try sockets[0].bind(DeviceHandle(engine: handle, device: settings.device))
    }
    defer {
      do {
        if let engine { try registry.removeEngine(engine) }
      } catch {
        logger.error("\(error)")
      }
    }
    // Before the engine goes, however this ends.
    defer { for socket in sockets { socket.stop() } }
    for socket in sockets {
      try socket.setQueueCount(settings.queues)
      socket.setDelegate(EndOnDisconnect(ending))
      try socket.start()
    }

    var printer = StatisticsPrinter(sockets, platform.software)
    while !ending.wait(milliseconds: settings.statisticsInterval.map { Int32($0) * 1000 } ?? -1) {
      printer.print()
    }
    logger.info("ending")
  }
}

/// Ends the service when the front-end of its only connection has gone: there is nobody else to wait for.
private struct EndOnDisconnect: VhostUserSocketDelegate {
  private let ending: EndingSignals

  init(_ ending: EndingSignals) { self.ending = ending }

  func socket(_ socket: VhostUserSocket, event: SocketEvent) {
    if case .disconnected = event, socket.isSingleConnection { ending.end() }
  }
}
