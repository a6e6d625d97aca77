import Foundation

/// The thread that starts every peer.
///
/// The kernel kills a child with PR_SET_PDEATHSIG when the *thread* that forked it ends. Threads of the concurrency
/// pool come and go; this one lives as long as the process.
final class SpawnThread: @unchecked Sendable {  // `jobs` is touched with `condition` locked only.
  static let shared = SpawnThread()

  private let condition = NSCondition()
  private var jobs: [@Sendable () -> Void] = []

  private init() {
    let thread = Thread { self.serve() }
    thread.name = "peer-spawn"
    thread.start()
  }

  private func serve() {
    while true {
      condition.lock()
      while jobs.isEmpty { condition.wait() }
      let job = jobs.removeFirst()
      condition.unlock()
      job()
    }
  }

  /// Runs `body` on the thread and waits for it.
  func run(_ body: @escaping @Sendable () -> Int32) -> Int32 {
    let result = Result()
    condition.lock()
    jobs.append { result.set(body()) }
    condition.signal()
    condition.unlock()
    return result.wait()
  }

  private final class Result: @unchecked Sendable {  // `value` is touched with `condition` locked only.
    private let condition = NSCondition()
    private var value: Int32?

    func set(_ value: Int32) {
      condition.lock()
      self.value = value
      condition.signal()
      condition.unlock()
    }

    func wait() -> Int32 {
      condition.lock()
      defer { condition.unlock() }
      while true {
        if let value { return value }
        condition.wait()
      }
    }
  }
}
