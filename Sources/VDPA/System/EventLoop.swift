internal import Synchronization
package import SystemPackage

/// A thread that waits for file descriptors and runs what the others hand it: the context in which sessions live.
///
/// Handlers run on the loop's thread, one at a time, and must not block. The loop lives until it is stopped.
package final class EventLoop: Sendable {
  package typealias Handler = @Sendable (Epoll.Interest) -> Void

  /// A descriptor that the loop watches. Letting go of it does not end the watch: `cancel` does.
  package final class Registration: Sendable {
    fileprivate let token: UInt64
    fileprivate let fd: OwnedFD
    fileprivate init(token: UInt64, fd: OwnedFD) {
      self.token = token
      self.fd = fd
    }
  }

  private struct State {
    var nextToken: UInt64 = 1
    var handlers: [UInt64: Handler] = [:]
    var jobs: [@Sendable () -> Void] = []
    /// The next one first; those of the same deadline in the order in which they came.
    var timers: [(deadline: UInt64, job: @Sendable () -> Void)] = []
    var stopping = false
  }

  private let epoll: Epoll
  private let wake: OwnedFD
  private let state = Mutex(State())
  private let thread = Mutex<PinnedThread?>(nil)
  private let identity = Atomic<UInt>(0)

  /// Starts the loop's thread.
  ///
  /// - Throws: `Errno`, when descriptors or threads have run out.
  package init(name: String) throws(Errno) {
    epoll = try Epoll()
    wake = try EventFD.make()
    try epoll.add(wake.descriptor, token: 0, interest: .readable)
    let running = try PinnedThread(name: name) { [self] in
      identity.store(ThreadIdentity.current, ordering: .relaxed)
      while turn() {}
    }
    thread.withLock { $0 = running }
  }

  /// Ends the loop's thread after the jobs that were handed to it, and waits for it. Not from a handler.
  package func stop() {
    state.withLock { $0.stopping = true }
    EventFD.signal(wake)
    thread.withLock { $0 }?.join()
  }

  /// Whether the caller runs on this loop's thread.
  package var isCurrent: Bool {
    identity.load(ordering: .relaxed) == ThreadIdentity.current
  }

  /// Runs `job` on the loop's thread, after everything handed to it before.
  package func run(_ job: @escaping @Sendable () -> Void) {
    state.withLock { $0.jobs.append(job) }
    EventFD.signal(wake)
  }

  /// Runs `job` on the loop's thread once `milliseconds` have passed.
  package func run(after milliseconds: Int, _ job: @escaping @Sendable () -> Void) {
    let deadline = MonotonicClock.nanoseconds &+ UInt64(milliseconds) &* 1_000_000
    state.withLock { state in
      let place = state.timers.lastIndex { $0.deadline <= deadline }.map { $0 + 1 } ?? 0
      state.timers.insert((deadline, job), at: place)
    }
    EventFD.signal(wake)
  }

  /// Watches a descriptor.
  ///
  /// - Parameters:
  ///   - fd: Kept open while it is watched.
  ///   - handler: Called on the loop's thread with what happened.
  /// - Throws: `Errno` of epoll_ctl(2), for example for a file that cannot be watched.
  package func watch(
    _ fd: OwnedFD, _ interest: Epoll.Interest, _ handler: @escaping Handler
  ) throws(Errno) -> Registration {
    let token = state.withLock { state in
      let token = state.nextToken
      state.nextToken += 1
      state.handlers[token] = handler
      return token
    }
    do {
      try epoll.add(fd.descriptor, token: token, interest: interest)
    } catch {
      state.withLock { $0.handlers[token] = nil }
      throw error
    }
    return Registration(token: token, fd: fd)
  }

  /// Changes what a watched descriptor waits for.
  package func change(_ registration: Registration, to interest: Epoll.Interest) throws(Errno) {
    try epoll.modify(registration.fd.descriptor, token: registration.token, interest: interest)
  }

  /// Ends a watch: when this returns on the loop's thread, the handler is not called again.
  package func cancel(_ registration: Registration) {
    let removed = state.withLock { $0.handlers.removeValue(forKey: registration.token) }
    if removed != nil { epoll.remove(registration.fd.descriptor) }
  }

  /// One turn: wait, handle events, run jobs. False when the loop is to end.
  private func turn() -> Bool {
    epoll.wait(milliseconds: timeout()) { event in
      if event.token == 0 {
        EventFD.drain(wake)
      } else if let handler = state.withLock({ $0.handlers[event.token] }) {
        handler(event.interest)
      }
    }
    let (jobs, stopping) = state.withLock { state in
      var jobs = state.jobs
      state.jobs = []
      let now = MonotonicClock.nanoseconds
      let due = state.timers.prefix { $0.deadline <= now }
      jobs += due.map(\.job)
      state.timers.removeFirst(due.count)
      return (jobs, state.stopping)
    }
    for job in jobs { job() }
    return !stopping || !jobs.isEmpty
  }

  /// Milliseconds until the next timer or job; −1 when there is none.
  private func timeout() -> CInt {
    state.withLock { state in
      guard state.jobs.isEmpty, !state.stopping else { return 0 }
      guard let next = state.timers.first?.deadline else { return -1 }
      let now = MonotonicClock.nanoseconds
      return next <= now ? 0 : CInt(clamping: (next - now + 999_999) / 1_000_000)
    }
  }
}
