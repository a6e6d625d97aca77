internal import CLinux
internal import Synchronization
internal import VDPA
internal import Virtio

/// A thread that serves queue pairs, in bursts, one after the other.
final class Worker: Sendable {
  private struct Shared {
    var pairs: [UInt64: NetPair] = [:]
    var nextID: UInt64 = 1
    var isStopping = false
    var isPaused = false
    /// Whether the thread stands still, or has ended.
    var isStanding = false
  }

  /// What only the thread itself touches.
  private struct Own {
    var generation: UInt64 = .max
    var pairs: [NetPair] = []
    var byID: [UInt64: NetPair] = [:]
    let burst = PacketBurst()
  }

  private let name: String
  private let mode: WorkerConfiguration.Mode
  private let epoll: Epoll
  private let wake: OwnedFD
  private let shared = Mutex(Shared())
  private let generation = Atomic<UInt64>(0)
  private let pausing = FutexWord()
  /// Changed whenever the thread begins to stand still, or ends.
  private let standing = FutexWord()
  private let thread = Mutex<PinnedThread?>(nil)

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

  /// Serves a pair from now on.
  func attach(_ pair: NetPair) {
    change { shared in
      pair.id.store(shared.nextID, ordering: .relaxed)
      shared.pairs[shared.nextID] = pair
      shared.nextID += 1
    }
  }

  /// Forgets a pair. It may be in a last burst still: ``BurstOwnership`` tells when that is over.
  func detach(_ pair: NetPair) {
    change { $0.pairs[pair.id.load(ordering: .relaxed)] = nil }
  }

  /// Watches a kick descriptor; the pair is looked at at once.
  func watch(_ kick: OwnedFD, of pair: NetPair, isTransmit: Bool) throws {
    guard mode == .event else { return }
    let token = pair.id.load(ordering: .relaxed) << 1 | (isTransmit ? 1 : 0)
    try epoll.add(kick.descriptor, token: token, interest: [.readable, .edgeTriggered])
  }

  /// Ends a watch.
  func unwatch(_ kick: OwnedFD) {
    if mode == .event { epoll.remove(kick.descriptor) }
  }

  /// Makes the worker look at all its pairs.
  func nudge() { change { _ in } }

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

  /// Takes over what others have changed. False when the worker is to end.
  private func update(_ own: inout Own) -> Bool {
    while true {
      let seen = pausing.value
      own.generation = generation.load(ordering: .acquiring)
      let (pairs, isStopping, isPaused) = shared.withLock { shared in
        shared.isStanding = shared.isStopping || shared.isPaused
        return (shared.pairs, shared.isStopping, shared.isPaused)
      }
      own.byID = pairs
      own.pairs = pairs.sorted { $0.key < $1.key }.map(\.value)
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
      if own.pairs.isEmpty {
        // Nothing can come until somebody attaches a pair.
        epoll.wait(milliseconds: -1) { _ in EventFD.drain(wake) }
        continue
      }
      var work = 0
      for pair in own.pairs { work &+= pair.serve(own.burst, isPolled: true) }
      if work == 0 {
        // A pause leaves the core's resources, and on a shared core the front-end's lines, to the other side.
        for _ in 0..<16 { clinux_pause() }
      }
    }
  }

  private func sleepAndServe(_ own: inout Own) {
    var ready: [NetPair] = []
    var lastPolled: UInt64 = 0
    while true {
      // A vring without a kick descriptor is to be polled; once a millisecond, so that the others may sleep.
      let isPolled = own.pairs.contains { $0.needsPolling.load(ordering: .relaxed) }
      let timeout: CInt = ready.isEmpty ? (isPolled ? 1 : -1) : 0
      epoll.wait(milliseconds: timeout) { event in
        guard event.token != 0 else {
          EventFD.drain(wake)
          return
        }
        guard let pair = own.byID[event.token >> 1] else { return }
        pair.countKick(isTransmit: event.token & 1 != 0)
        if !ready.contains(where: { $0 === pair }) { ready.append(pair) }
      }
      if own.generation != generation.load(ordering: .relaxed) {
        guard update(&own) else { return }
        ready = own.pairs
      } else if isPolled, case let now = MonotonicClock.nanoseconds, now &- lastPolled >= 1_000_000 {
        // Whatever else goes on: others that are never idle must not keep a polled pair waiting.
        lastPolled = now
        for pair in own.pairs where pair.needsPolling.load(ordering: .relaxed) {
          if !ready.contains(where: { $0 === pair }) { ready.append(pair) }
        }
      }
      ready.removeAll { pair in
        // A ring asks for kicks only when there is nothing left to do, and is then looked at once more.
        pair.serve(own.burst, isPolled: false) == 0
      }
    }
  }
}
