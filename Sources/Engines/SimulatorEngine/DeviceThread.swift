internal import CLinux
internal import Synchronization
internal import SystemPackage
internal import VDPA

/// The thread of a device. It owns all that the device is (a ``RingServer``); others hand it jobs and wait for the answer.
final class DeviceThread: Sendable {
  /// How long an operation waits for its answer.
  static let deadline: UInt64 = 10_000_000_000

  /// How many turns without work are spent before the thread sleeps: a guest that answers at once is met awake.
  private static let spinTurns = 256

  /// How long a thread sleeps that has doorbells to look at, in nanoseconds: at first, and when nobody rings for long.
  private static let shortestNap: UInt64 = 20_000
  private static let longestNap: UInt64 = 1_000_000

  private struct Mailbox {
    var jobs: [@Sendable (RingServer) -> Void] = []
    var isStopping = false
  }

  /// An operation on its way: the side that gives up and the side that begins agree on which of them was first.
  private final class Ticket<Value: Sendable>: Sendable {
    enum Stage {
      case waiting
      case running
      case withdrawn
      case done(Result<Value, any Error>)
    }

    let stage = Mutex<Stage>(.waiting)
    let signal = FutexWord()

    /// Whether the job is to be done.
    func begin() -> Bool {
      stage.withLock { stage in
        guard case .waiting = stage else { return false }
        stage = .running
        return true
      }
    }

    func finish(_ result: Result<Value, any Error>) {
      stage.withLock { $0 = .done(result) }
      signal.signal()
    }

    /// Whether the job will never begin.
    func withdraw() -> Bool {
      stage.withLock { stage in
        guard case .waiting = stage else { return false }
        stage = .withdrawn
        return true
      }
    }
  }

  private let name: String
  private let epoll: Epoll
  private let wake: OwnedFD
  private let mailbox = Mutex(Mailbox())
  /// What it sleeps on for less than a millisecond.
  private let doze = FutexWord()
  /// Whether the mailbox has to be looked at: spares the thread a lock a turn.
  private let hasMail = Atomic<Bool>(false)
  private let thread = Mutex<PinnedThread?>(nil)

  /// Starts a thread.
  ///
  /// - Parameters:
  ///   - name: Of the thread.
  ///   - make: Makes what the thread owns, on the thread. It registers descriptors with the given epoll instance under
  ///     tokens other than 0.
  /// - Throws: ``SimulatorError`` `noResources`.
  init(name: String, _ make: @escaping @Sendable (Epoll) -> RingServer) throws(SimulatorError) {
    self.name = name
    do throws(Errno) {
      epoll = try Epoll()
      wake = try EventFD.make()
      try epoll.add(wake.descriptor, token: 0, interest: .readable)
      let running = try PinnedThread(name: name) { [self] in serve(make(epoll)) }
      thread.withLock { $0 = running }
    } catch {
      throw SimulatorError(
        .noResources, "the thread \(name) of a simulated device cannot be started", underlying: error)
    }
  }

  /// Ends the thread after the jobs that it was handed, and waits for it. Calling it again does nothing.
  func stop() {
    mailbox.withLock { $0.isStopping = true }
    ring()
    thread.withLock { thread in
      defer { thread = nil }
      return thread
    }?.join()
  }

  /// Runs `body` on the thread, between two bursts, and waits for its result.
  ///
  /// - Parameters:
  ///   - operation: Its name for the error.
  ///   - evenIfLate: Whether it is to be done even when nobody waits for it any more.
  ///   - deadline: How long to wait, in nanoseconds.
  ///   - body: What to do; it must not block.
  /// - Throws: What `body` throws; ``SimulatorError`` `stopped` or `deadlineMissed`.
  func perform<Value: Sendable>(
    _ operation: String, evenIfLate: Bool = false, deadline: UInt64 = DeviceThread.deadline,
    _ body: @escaping @Sendable (RingServer) throws -> Value
  ) throws -> Value {
    let ticket = Ticket<Value>()
    let isAccepted = mailbox.withLock { mailbox in
      guard !mailbox.isStopping else { return false }
      mailbox.jobs.append { server in
        guard ticket.begin() else { return }
        ticket.finish(Result { try body(server) })
      }
      return true
    }
    guard isAccepted else {
      throw SimulatorError(.stopped, "simulated device \(name) has been stopped with its engine: no \(operation)")
    }
    ring()
    let end = MonotonicClock.nanoseconds &+ deadline
    while true {
      let seen = ticket.signal.value
      if case .done(let result) = ticket.stage.withLock({ $0 }) { return try result.get() }
      let now = MonotonicClock.nanoseconds
      guard now < end else { break }
      ticket.signal.wait(whileEqualTo: seen, nanoseconds: Int64(clamping: end - now))
    }
    let isWithdrawn = evenIfLate ? false : ticket.withdraw()
    throw SimulatorError(
      .deadlineMissed,
      "simulated device \(name) did not answer \(operation) within \(deadline / 1_000_000) ms"
        + (isWithdrawn ? "; it will not do it any more" : "; it may still do it"))
  }

  private func ring() {
    hasMail.store(true, ordering: .releasing)
    EventFD.signal(wake)
    doze.signal()
  }

  // MARK: On the thread

  private func serve(_ server: RingServer) {
    var idleTurns = 0
    while true {
      if hasMail.load(ordering: .acquiring) {
        guard runJobs(server) else { return }
        idleTurns = 0
      }
      if server.turn() {
        idleTurns = 0
        continue
      }
      idleTurns += 1
      if idleTurns < DeviceThread.spinTurns && server.isServing {
        clinux_pause()
        continue
      }
      // The guest may have made buffers available before it saw that kicks are wanted.
      server.setWantsKicks(true)
      if server.turn() {
        server.setWantsKicks(false)
        idleTurns = 0
        continue
      }
      if sleep(server) { idleTurns = 0 }
      server.setWantsKicks(false)
    }
  }

  /// Sleeps until there is something to do: an event, something that is due, or a doorbell, which has to be looked at.
  ///
  /// - Returns: Whether there was an event, or a doorbell was rung.
  private func sleep(_ server: RingServer) -> Bool {
    var nap = DeviceThread.shortestNap
    while true {
      let seen = doze.value
      guard !hasMail.load(ordering: .acquiring) else { return true }
      let idle = server.idleTime ?? .max
      let time = server.hasDoorbells ? min(idle, nap) : idle
      let isShort = time < 1_000_000
      if isShort { doze.wait(whileEqualTo: seen, nanoseconds: Int64(time)) }
      let milliseconds = isShort ? 0 : time == .max ? -1 : CInt(clamping: time / 1_000_000)
      let events = epoll.wait(milliseconds: milliseconds) { event in
        if event.token == 0 { EventFD.drain(wake) } else { server.noteKick(token: event.token) }
      }
      if events > 0 || server.lookAtDoorbells() { return true }
      // Nothing else than looking at doorbells was due.
      guard time < idle else { return false }
      nap = min(2 * nap, DeviceThread.longestNap)
    }
  }

  /// Runs what is in the mailbox. False when the thread is to end.
  private func runJobs(_ server: RingServer) -> Bool {
    // Cleared before the mailbox is emptied: a job that comes in between is found now, and looked for once more.
    hasMail.store(false, ordering: .sequentiallyConsistent)
    let (jobs, isStopping) = mailbox.withLock { mailbox in
      defer { mailbox.jobs = [] }
      return (mailbox.jobs, mailbox.isStopping)
    }
    for job in jobs { job(server) }
    // No job is accepted once it is stopping, so none is left behind.
    if isStopping { _ = server.close() }
    return !isStopping
  }
}
