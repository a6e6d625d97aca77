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
    // A peer that goes away is an error of a write and not the end of the process.
    signal(SIGPIPE, SIG_IGN)
    // So is a file that may not become as large as a guest wants it (ulimit -f).
    signal(SIGXFSZ, SIG_IGN)
    OpenFileLimit.raise()
    // Before the first thread, so that no thread takes the signal away from the one that waits for it.
    let ending = try EndingSignals()

    // Nor is a front-end that takes back the memory which it has shared.
    try BusErrorGuard.install()

    LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
    var logger = Logger(label: "vdpad")
    logger.logLevel = settings.logLevel

    let software = try SoftwareEngine(workers: settings.workers) { [logger] report in
      switch report {
      case .stuck: logger.error("\(report)")
      case .goesOn: logger.notice("\(report)")
      }
    }
    defer { software.stop() }
    if !EventFD.neverBlocks {
      logger.warning(
        """
        guests are called by write(2), which a hostile front-end can make block: the kernel gives this process no \
        asynchronous I/O (raise fs.aio-max-nr, or allow io_setup and io_submit)
        """)
    }
    let registry = Registry(software: software)
    try Drivers.register(in: registry)
    let threads = try SessionThreads()
    defer { threads.stop() }

    let sockets = settings.sockets.map {
      VhostUserSocket($0, registry: registry, threads: threads, logger: logger)
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

    var printer = StatisticsPrinter(sockets, software)
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
