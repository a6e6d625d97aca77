import Datapath
import Glibc
import Logging
import VDPA
import VhostUser
import Virtio

/// What both `serve` and `run` stand on: signals, the log, the software datapath, the registry with its drivers, and the
/// threads of sockets.
struct Platform {
  let ending: EndingSignals
  let logger: Logger
  let software: SoftwareEngine
  let registry: Registry
  let threads: SessionThreads

  /// Made once, and before any other thread.
  init(workers: WorkerConfiguration = WorkerConfiguration(), logLevel: Logger.Level) throws {
    // A peer that goes away is an error of a write and not the end of the process.
    signal(SIGPIPE, SIG_IGN)
    // So is a file that may not become as large as a guest wants it (ulimit -f).
    signal(SIGXFSZ, SIG_IGN)
    OpenFileLimit.raise()
    // Before the first thread, so that no thread takes the signal away from the one that waits for it.
    ending = try EndingSignals()

    // Nor is a front-end that takes back the memory which it has shared.
    try BusErrorGuard.install()

    LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
    var logger = Logger(label: "vdpad")
    logger.logLevel = logLevel
    self.logger = logger

    software = try SoftwareEngine(workers: workers) { [logger] report in
      switch report {
      case .stuck: logger.error("\(report)")
      case .goesOn: logger.notice("\(report)")
      }
    }
    if !EventFD.neverBlocks {
      logger.warning(
        """
        guests are called by write(2), which a hostile front-end can make block: the kernel gives this process no \
        asynchronous I/O (raise fs.aio-max-nr, or allow io_setup and io_submit)
        """)
    }
    do {
      registry = Registry(software: software)
      try Drivers.register(in: registry)
      threads = try SessionThreads()
    } catch {
      software.stop()
      throw error
    }
  }

  /// Ends the threads. The sockets have been stopped, and the engines removed.
  func stop() {
    threads.stop()
    software.stop()
  }
}
