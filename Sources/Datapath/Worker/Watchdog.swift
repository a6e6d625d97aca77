internal import Synchronization
internal import VDPA

/// Looks at the workers from time to time, and tells which one does not come back from which of its clients.
final class Watchdog: Sendable {
  /// What one worker was seen doing.
  private struct Seen {
    var position = Worker.Position(turn: 0, client: 0)
    /// How many looks in a row have found it there.
    var looks = 0
    /// What the client is called, once it was told of.
    var told: String?
  }

  /// How many looks have to find a worker where the one before has left it. Looks and not time: they come no faster when a
  /// process that was stopped goes on.
  static let patience = 2

  private let workers: [Worker]
  /// From one look to the next, in seconds.
  private let interval: Int
  private let report: @Sendable (WorkerReport) -> Void
  private let seen: Mutex<[Seen]>
  private let isStopping = Atomic<Bool>(false)
  private let signal = FutexWord()
  private let thread = Mutex<PinnedThread?>(nil)

  /// Looks at nothing before ``start()``.
  ///
  /// - Parameter report: Called on the watchdog's thread, under no lock of anybody but its own.
  init(_ workers: [Worker], interval: Int = 1, report: @escaping @Sendable (WorkerReport) -> Void) {
    self.workers = workers
    self.interval = interval
    self.report = report
    seen = Mutex(workers.map { _ in Seen() })
  }

  /// Starts the thread that looks.
  ///
  /// - Throws: ``DatapathError`` `system`, when there is none left.
  func start() throws(DatapathError) {
    do {
      let started = try PinnedThread(name: "vdpa-watchdog") { [self] in
        while true {
          let value = signal.value
          if isStopping.load(ordering: .acquiring) { return }
          signal.wait(whileEqualTo: value, nanoseconds: Int64(interval) * 1_000_000_000)
          look()
        }
      }
      thread.withLock { $0 = started }
    } catch {
      throw DatapathError(.system, "the thread that watches the workers could not be started: \(error)")
    }
  }

  /// Ends it.
  func stop() {
    isStopping.store(true, ordering: .releasing)
    signal.signal()
    thread.withLock { $0 }?.join()
  }

  /// Looks once.
  func look() {
    for (index, worker) in workers.enumerated() {
      let position = worker.position
      let (told, looks, isNew) = seen.withLock { all -> (String?, Int, Bool) in
        guard position != all[index].position else {
          all[index].looks += 1
          guard position.client != 0, all[index].looks >= Watchdog.patience, all[index].told == nil else {
            return (nil, 0, false)
          }
          let name = worker.clientName(position.client) ?? "a client that it does not serve any more"
          all[index].told = name
          return (name, all[index].looks, true)
        }
        let before = all[index]
        all[index] = Seen(position: position)
        return (before.told, before.looks, false)
      }
      guard let told else { continue }
      let seconds = looks * interval
      report(
        isNew
          ? .stuck(worker: worker.name, client: told, seconds: seconds)
          : .goesOn(worker: worker.name, client: told, seconds: seconds))
    }
  }
}
