import Logging
import Synchronization
import VDPA

/// A logger for lines that a guest or a front-end can cause: every line names the socket, and a peer that causes many
/// fills no disk: after a burst there is one line a second, with the number of those left out. Who asks for trace or
/// debug lines wants them all, and gets them.
final class LimitedLogger: Sendable {
  private struct Budget {
    var lines = LimitedLogger.burst
    var refilled = MonotonicClock.nanoseconds
    var leftOut = 0
  }

  private static let burst = 32
  private static let nanosecondsPerLine: UInt64 = 1_000_000_000

  private let logger: Logger
  private let prefix: String
  private let budget = Mutex(Budget())

  init(_ logger: Logger, prefix: String) {
    self.logger = logger
    self.prefix = prefix
  }

  func trace(_ message: @autoclosure () -> String) { write(.trace, message) }
  func debug(_ message: @autoclosure () -> String) { write(.debug, message) }
  func info(_ message: @autoclosure () -> String) { write(.info, message) }
  func warning(_ message: @autoclosure () -> String) { write(.warning, message) }
  func error(_ message: @autoclosure () -> String) { write(.error, message) }

  /// What a device did wrong, which no peer can cause at will: never left out.
  func failure(_ message: @autoclosure () -> String) { logger.error("\(prefix): \(message())") }

  /// Says how many lines were left out since the last that was written.
  func flush() {
    let leftOut = budget.withLock { budget in
      defer { budget.leftOut = 0 }
      return budget.leftOut
    }
    if leftOut > 0 { logger.notice("\(prefix): \(leftOut) more messages were left out") }
  }

  private func write(_ level: Logger.Level, _ message: () -> String) {
    guard logger.logLevel <= level, logger.logLevel <= .debug || admit() else { return }
    flush()
    logger.log(level: level, "\(prefix): \(message())")
  }

  private func admit() -> Bool {
    budget.withLock { budget in
      let now = MonotonicClock.nanoseconds
      let earned = Int(clamping: (now - budget.refilled) / LimitedLogger.nanosecondsPerLine)
      if earned > 0 {
        budget.lines = min(LimitedLogger.burst, budget.lines + earned)
        budget.refilled = now
      }
      guard budget.lines > 0 else {
        budget.leftOut += 1
        return false
      }
      budget.lines -= 1
      return true
    }
  }
}
