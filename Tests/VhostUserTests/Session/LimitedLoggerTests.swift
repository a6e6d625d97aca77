import Logging
import Synchronization
import Testing

@testable import VhostUser

/// What a peer can have logged.
struct LimitedLoggerTests {
  private final class Lines: Sendable {
    let all = Mutex<[String]>([])
  }

  private struct Handler: LogHandler {
    let lines: Lines
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }
    func log(event: LogEvent) { lines.all.withLock { $0.append("\(event.message)") } }
  }

  @Test("A burst is written, then no more than one a second, and how many were left out; a device's failure always is")
  func burst() {
    let lines = Lines()
    let log = LimitedLogger(Logger(label: "test") { _ in Handler(lines: lines) }, prefix: "vm0")
    for i in 0..<1000 { log.warning("\(i)") }
    let written = lines.all.withLock(\.count)
    #expect(written >= 32 && written < 500)
    log.failure("it caught fire")
    log.flush()
    let end = lines.all.withLock { $0.suffix(2) }
    #expect(end.first == "vm0: it caught fire" && end.last == "vm0: \(1000 - written) more messages were left out")
  }

  @Test("Who asks for debug lines gets them all")
  func debug() {
    let lines = Lines()
    let logger = Logger(label: "test") { _ in Handler(lines: lines, logLevel: .debug) }
    let log = LimitedLogger(logger, prefix: "vm0")
    for i in 0..<100 { log.warning("\(i)") }
    #expect(lines.all.withLock(\.count) == 100)
  }
}
