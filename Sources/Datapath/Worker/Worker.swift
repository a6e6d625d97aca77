internal import CLinux
internal import Synchronization
internal import VDPA
internal import Virtio

/// A thread that serves its clients, in bursts, one after the other.
final class Worker: Sendable {
  /// What its thread takes over when somebody has changed it.
  struct Shared {
    var clients: [UInt64: ServedClient] = [:]
    /// The numbers of the clients.
    var ids: [ObjectIdentifier: UInt64] = [:]
    var nextID: UInt64 = 1
    var mode: WorkerConfiguration.Mode
    var isStopping = false
    var isPaused = false
    /// Whether the thread stands still, or has ended.
    var isStanding = false
  }

  let name: String
  /// The CPU that the thread is pinned to; nil for none.
  let cpu: Int?
  /// How long it looks for something to do before it sleeps, in microseconds, in adaptive mode.
  let idleTime: Int
  let counters = WorkerCounters()
  let epoll: Epoll
  let wake: OwnedFD
  let shared: Mutex<Shared>
  let generation = Atomic<UInt64>(0)
  /// What the thread has taken over of that, and a word that changes whenever it does.
  let taken = Atomic<UInt64>(0)
  let taking = FutexWord()
  let pausing = FutexWord()
  /// Changed whenever the thread begins to stand still, or ends.
  let standing = FutexWord()
  private let thread = Mutex<PinnedThread?>(nil)
  /// Which client it serves, 0 while it serves none. For others to look at.
  let current = Atomic<UInt64>(0)

  init(
    name: String, mode: WorkerConfiguration.Mode, cpu: Int?, idleTime: Int = WorkerConfiguration.usualIdleTime
  ) throws(DatapathError) {
    self.name = name
    self.cpu = cpu
    self.idleTime = idleTime
    shared = Mutex(Shared(mode: mode))
    do {
      epoll = try Epoll()
      wake = try EventFD.make()
      try epoll.add(wake.descriptor, token: 0, interest: .readable)
      let started = try PinnedThread(name: name, cpus: cpu.map { [$0] } ?? []) { [self] in run() }
      thread.withLock { $0 = started }
    } catch {
      throw DatapathError(.system, "worker \(name) could not be started: \(error)")
    }
  }

  // MARK: Called from other threads

  /// How many descriptors of a client can be told apart.
  static let maxSources = 256

  /// Serves a client from now on. One that is served already stays so.
  func attach(_ client: any WorkerClient) {
    change { shared in
      guard shared.ids[ObjectIdentifier(client)] == nil else { return }
      shared.ids[ObjectIdentifier(client)] = shared.nextID
      shared.clients[shared.nextID] = ServedClient(id: shared.nextID, client: client)
      shared.nextID += 1
    }
  }

  /// Forgets a client. It may be in a last burst still: ``BurstOwnership`` tells when that is over.
  func detach(_ client: any WorkerClient) {
    change { shared in
      guard let id = shared.ids.removeValue(forKey: ObjectIdentifier(client)) else { return }
      shared.clients[id] = nil
    }
  }

  /// Watches a descriptor of a client that is attached; if it is readable already, the client is looked at at once. In
  /// whatever mode, for the next one may be another.
  ///
  /// - Parameters:
  ///   - descriptor: An eventfd; it is watched edge-triggered and never read.
  ///   - source: What ``WorkerClient/woken(by:)`` is told, below ``maxSources``.
  /// - Throws: `Errno`, or ``DatapathError`` for a client that is not attached.
  func watch(_ descriptor: OwnedFD, of client: any WorkerClient, source: Int) throws {
    precondition((0..<Worker.maxSources).contains(source))
    guard let id = shared.withLock({ $0.ids[ObjectIdentifier(client)] }) else {
      throw DatapathError(.system, "\(client.name) is not served by worker \(name), which so cannot watch for it")
    }
    let token = id * UInt64(Worker.maxSources) + UInt64(source)
    try epoll.add(descriptor.descriptor, token: token, interest: [.readable, .edgeTriggered])
  }

  /// Ends a watch.
  func unwatch(_ descriptor: OwnedFD) { epoll.remove(descriptor.descriptor) }

  /// Makes the worker look at all its clients.
  func nudge() { change { _ in } }

  /// What it does when its queues are empty; it is changed while they are served, and takes effect at once.
  var mode: WorkerConfiguration.Mode {
    get { shared.withLock { $0.mode } }
    set { change { $0.mode = newValue } }
  }

  /// All that it serves, in the order in which they came.
  var clients: [ServedClient] { shared.withLock { $0.clients.values.sorted { $0.id < $1.id } } }

  /// What it has done so far.
  var statistics: WorkerStatistics {
    let (mode, queues) = shared.withLock { ($0.mode, $0.clients.count) }
    return WorkerStatistics(
      name: name, mode: mode, cpu: cpu, queues: queues, turns: counters.turns, busyTurns: counters.busyTurns,
      busyCycles: counters.busy, idleCycles: counters.idle, asleepCycles: counters.asleep, sleeps: counters.sleeps)
  }

  /// Waits until the thread has taken over all that was changed before, or stands still: it is in no turn of a client that
  /// was detached, and will not be.
  ///
  /// - Throws: ``DatapathError`` `stuck`, when it has not left the turn that it is in after two seconds.
  func settle() throws(DatapathError) {
    let wanted = generation.load(ordering: .acquiring)
    let end = MonotonicClock.nanoseconds &+ 2_000_000_000
    while true {
      let seen = taking.value
      if taken.load(ordering: .acquiring) >= wanted || shared.withLock({ $0.isStanding }) { return }
      let now = MonotonicClock.nanoseconds
      guard now < end else {
        throw DatapathError(.stuck, "worker \(name) does not leave the queue that it serves")
      }
      taking.wait(whileEqualTo: seen, nanoseconds: Int64(end - now))
    }
  }

  /// Stands still until ``resume()``: nothing is served meanwhile and nothing is lost. Returns when it does.
  func pause() {
    change { $0.isPaused = true }
    while true {
      let seen = standing.value
      if shared.withLock({ $0.isStanding || !$0.isPaused }) { return }
      standing.wait(whileEqualTo: seen, nanoseconds: -1)
    }
  }

  /// Goes on after ``pause()``.
  func resume() {
    change { $0.isPaused = false }
    pausing.signal()
  }

  /// Ends the thread and waits for it.
  func stop() {
    change {
      $0.isStopping = true
      $0.isPaused = false
    }
    pausing.signal()
    thread.withLock { $0 }?.join()
  }

  /// Where the thread is: the same in a client for as long as it does not come back from it.
  struct Position: Equatable {
    var turn: UInt64
    /// The client's number; 0 for none.
    var client: UInt64
  }

  var position: Position {
    Position(turn: counters.turns, client: current.load(ordering: .relaxed))
  }

  /// What the client with a number is called.
  func clientName(_ id: UInt64) -> String? { shared.withLock { $0.clients[id] }?.client.name }

  private func change(_ body: (inout Shared) -> Void) {
    shared.withLock { body(&$0) }
    generation.wrappingAdd(1, ordering: .releasing)
    EventFD.signal(wake)
  }
}
