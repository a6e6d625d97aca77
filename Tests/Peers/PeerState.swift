import Foundation
import SystemPackage

/// What is known of a running peer: its output so far and its end. Two threads write it, any number wait on it.
final class PeerState: @unchecked Sendable {  // Every variable is touched with `condition` locked only.
  private let condition = NSCondition()
  private let limit: Int
  private var log: FileDescriptor?
  private var bytes: [UInt8] = []
  /// How many bytes the bound has pushed out of `bytes`.
  private var dropped = 0
  private var outputEnded = false
  private var status: ExitStatus?

  init(limit: Int, log: FileDescriptor?) {
    self.limit = limit
    self.log = log
  }

  // MARK: Writers

  func append(_ chunk: some Collection<UInt8>) {
    condition.lock()
    defer { condition.unlock() }
    // The log is a help for a reader; a full disk must not fail the run.
    if let log { _ = try? log.writeAll(chunk) }
    // A carriage return says nothing here, and in a String it makes one character of the line's end with what follows.
    bytes.append(contentsOf: chunk.lazy.filter { $0 != UInt8(ascii: "\r") })
    // By halves, so that the bound costs a move now and then and not one a chunk.
    if bytes.count > limit {
      let excess = bytes.count - limit / 2
      bytes.removeFirst(excess)
      dropped += excess
    }
    condition.broadcast()
  }

  func endOutput() {
    condition.lock()
    defer { condition.unlock() }
    outputEnded = true
    try? log?.close()
    log = nil
    condition.broadcast()
  }

  /// Takes the end of the process: `reap` runs under the lock, so that no signal can reach a reused process id.
  func end(reap: () -> ExitStatus) {
    condition.lock()
    defer { condition.unlock() }
    status = reap()
    condition.broadcast()
  }

  // MARK: Readers

  /// Runs `body` unless the process has been reaped.
  func whileAlive(_ body: () -> Void) {
    condition.lock()
    defer { condition.unlock() }
    if status == nil { body() }
  }

  var exitStatus: ExitStatus? {
    condition.lock()
    defer { condition.unlock() }
    return status
  }

  /// The number of bytes printed so far, without carriage returns.
  var mark: Int {
    condition.lock()
    defer { condition.unlock() }
    return dropped + bytes.count
  }

  func text(since mark: Int) -> String {
    condition.lock()
    defer { condition.unlock() }
    return unlockedText(since: mark)
  }

  private func unlockedText(since mark: Int) -> String {
    String(decoding: bytes.dropFirst(max(0, mark - dropped)), as: UTF8.self)
  }

  /// What `search` found in the output after `mark`, as soon as it finds something.
  enum Found<Value> {
    case value(Value)
    case exited(ExitStatus)
    case timeout
  }

  func wait<Value>(since mark: Int, until deadline: ContinuousClock.Instant, for search: (String) -> Value?)
    -> Found<Value>
  {
    condition.lock()
    defer { condition.unlock() }
    var searched = -1
    while true {
      let end = dropped + bytes.count
      if end != searched {
        if let value = search(unlockedText(since: mark)) { return .value(value) }
        searched = end
      }
      // Output may still be on its way after the end of the process.
      if let status, outputEnded { return .exited(status) }
      guard sleep(until: deadline) else { return status.map { .exited($0) } ?? .timeout }
    }
  }

  /// Waits for the end of the process.
  func waitForExit(until deadline: ContinuousClock.Instant) -> ExitStatus? {
    condition.lock()
    defer { condition.unlock() }
    while status == nil {
      guard sleep(until: deadline) else { return nil }
    }
    return status
  }

  /// False once the deadline has passed.
  private func sleep(until deadline: ContinuousClock.Instant) -> Bool {
    let left = (deadline - .now) / .seconds(1)
    guard left > 0 else { return false }
    _ = condition.wait(until: Date(timeIntervalSinceNow: left))
    return true
  }
}
