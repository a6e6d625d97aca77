internal import CLinux
internal import Synchronization
internal import VDPA
internal import Virtio

/// A thread that serves its clients, in bursts, one after the other.
final class Worker: Sendable {
  private struct Shared {
    var clients: [UInt64: any WorkerClient] = [:]
    /// The numbers of the clients, never used twice, so that an event of a descriptor that is no longer watched is told
    /// apart from those of the next client.
    var ids: [ObjectIdentifier: UInt64] = [:]
    var nextID: UInt64 = 1
    var isStopping = false
    var isPaused = false
    /// Whether the thread stands still, or has ended.
    var isStanding = false
  }

  /// A client with its number.
  private struct Served {
    let id: UInt64
    let client: any WorkerClient
  }

  /// What only the thread itself touches.
  private struct Own {
    var generation: UInt64 = .max
    var clients: [Served] = []
    var byID: [UInt64: any WorkerClient] = [:]
    let burst = PacketBurst()
  }

  let name: String
  private let mode: WorkerConfiguration.Mode
  private let epoll: Epoll
  private let wake: OwnedFD
  private let shared = Mutex(Shared())
  private let generation = Atomic<UInt64>(0)
  /// What the thread has taken over of that, and a word that changes whenever it does.
  private let taken = Atomic<UInt64>(0)
  private let taking = FutexWord()
  private let pausing = FutexWord()
  /// Changed whenever the thread begins to stand still, or ends.
  private let standing = FutexWord()
  private let thread = Mutex<PinnedThread?>(nil)
  /// How often it has begun to serve a client, and which one last, 0 while it serves none. For others to look at.
  private let turns = Atomic<UInt64>(0)
  private let current = Atomic<UInt64>(0)

  init(name: String, mode: WorkerConfiguration.Mode, cpu: Int?) throws(DatapathError) {
    self.name = name
    self.mode = mode
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
      shared.clients[shared.nextID] = client
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

  /// Watches a descriptor of a client that is attached; if it is readable already, the client is looked at at once. A
  /// worker that polls needs no descriptor.
  ///
  /// - Parameters:
  ///   - descriptor: An eventfd; it is watched edge-triggered and never read.
  ///   - source: What ``WorkerClient/woken(by:)`` is told, below ``maxSources``.
  /// - Throws: `Errno`, or ``DatapathError`` for a client that is not attached.
  func watch(_ descriptor: OwnedFD, of client: any WorkerClient, source: Int) throws {
    precondition((0..<Worker.maxSources).contains(source))
    guard mode == .event else { return }
    guard let id = shared.withLock({ $0.ids[ObjectIdentifier(client)] }) else {
      throw DatapathError(.system, "\(client.name) is not served by worker \(name), which so cannot watch for it")
    }
    let token = id * UInt64(Worker.maxSources) + UInt64(source)
    try epoll.add(descriptor.descriptor, token: token, interest: [.readable, .edgeTriggered])
  }

  /// Ends a watch.
  func unwatch(_ descriptor: OwnedFD) {
    if mode == .event { epoll.remove(descriptor.descriptor) }
  }

  /// Makes the worker look at all its clients.
  func nudge() { change { _ in } }

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
    Position(turn: turns.load(ordering: .relaxed), client: current.load(ordering: .relaxed))
  }

  /// What the client with a number is called.
  func clientName(_ id: UInt64) -> String? { shared.withLock { $0.clients[id] }?.name }

  private func change(_ body: (inout Shared) -> Void) {
    shared.withLock { body(&$0) }
    generation.wrappingAdd(1, ordering: .releasing)
    EventFD.signal(wake)
  }

  // MARK: The thread

  private func run() {
    var own = Own()
    switch mode {
    case .poll: poll(&own)
    case .event: sleepAndServe(&own)
    }
  }

  @inline(__always) private func serve(_ served: Served, _ burst: PacketBurst, isPolled: Bool) -> Int {
    current.store(served.id, ordering: .relaxed)
    turns.store(turns.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    return served.client.serve(burst, isPolled: isPolled)
  }

  /// Takes over what others have changed. False when the worker is to end.
  private func update(_ own: inout Own) -> Bool {
    current.store(0, ordering: .relaxed)
    while true {
      let seen = pausing.value
      own.generation = generation.load(ordering: .acquiring)
      let (clients, isStopping, isPaused) = shared.withLock { shared in
        shared.isStanding = shared.isStopping || shared.isPaused
        return (shared.clients, shared.isStopping, shared.isPaused)
      }
      taken.store(own.generation, ordering: .releasing)
      taking.signal()
      own.byID = clients
      own.clients = clients.sorted { $0.key < $1.key }.map { Served(id: $0.key, client: $0.value) }
      if isStopping || isPaused { standing.signal() }
      if isStopping { return false }
      if !isPaused { return true }
      pausing.wait(whileEqualTo: seen, nanoseconds: -1)
    }
  }

  private func poll(_ own: inout Own) {
    while true {
      if own.generation != generation.load(ordering: .relaxed) {
        guard update(&own) else { return }
      }
      if own.clients.isEmpty {
        // Nothing can come until somebody attaches a client.
        epoll.wait(milliseconds: -1) { _ in EventFD.drain(wake) }
        continue
      }
      var work = 0
      for served in own.clients { work &+= serve(served, own.burst, isPolled: true) }
      if work == 0 {
        // A pause leaves the core's resources, and on a shared core the front-end's lines, to the other side.
        for _ in 0..<16 { clinux_pause() }
      }
    }
  }

  private func sleepAndServe(_ own: inout Own) {
    var ready: [Served] = []
    func add(_ served: Served) {
      if !ready.contains(where: { $0.id == served.id }) { ready.append(served) }
    }
    var lastPolled: UInt64 = 0
    while true {
      current.store(0, ordering: .relaxed)
      // A vring without a kick descriptor is to be polled; once a millisecond, so that the others may sleep.
      let isPolled = own.clients.contains { $0.client.needsPolling }
      let timeout: CInt = ready.isEmpty ? (isPolled ? 1 : -1) : 0
      epoll.wait(milliseconds: timeout) { event in
        guard event.token != 0 else {
          EventFD.drain(wake)
          return
        }
        let (id, source) = event.token.quotientAndRemainder(dividingBy: UInt64(Worker.maxSources))
        guard let client = own.byID[id] else { return }
        client.woken(by: Int(source))
        add(Served(id: id, client: client))
      }
      if own.generation != generation.load(ordering: .relaxed) {
        guard update(&own) else { return }
        ready = own.clients
      } else if isPolled, case let now = MonotonicClock.nanoseconds, now &- lastPolled >= 1_000_000 {
        // Whatever else goes on: others that are never idle must not keep a polled client waiting.
        lastPolled = now
        for served in own.clients where served.client.needsPolling { add(served) }
      }
      ready.removeAll { served in
        // A ring asks for kicks only when there is nothing left to do, and is then looked at once more.
        serve(served, own.burst, isPolled: false) == 0
      }
    }
  }
}
