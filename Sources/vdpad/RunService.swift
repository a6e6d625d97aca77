import ControlServer
import Logging
import VhostUser

/// Runs what `vdpad run` was asked for, until it is told to end.
struct RunService {
  private let control: String
  private let logLevel: Logger.Level

  init(control: String, logLevel: Logger.Level) { (self.control, self.logLevel) = (control, logLevel) }

  func run() throws {
    let platform = try Platform(logLevel: logLevel)
    defer { platform.stop() }
    let daemon = Daemon(platform)
    defer { daemon.stop() }

    // The superuser, this user, and whoever is in the group that the file is given.
    let (socket, file) = try SocketFile.listen(at: control, options: SocketFile.Options(mode: 0o660))
    // Before its socket is closed, and first of all: who still finds it gets an answer.
    defer { withExtendedLifetime(socket) { file.remove() } }
    let server = try ControlServer(
      daemon.methods, on: socket, access: AccessRule(path: control), logger: platform.logger)
    platform.logger.info("listening at \(control)")
    _ = platform.ending.wait(milliseconds: -1)
    platform.logger.info("ending")
    file.remove()
    server.stop()
  }
}
