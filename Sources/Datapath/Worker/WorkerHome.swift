internal import Synchronization
internal import VDPA

/// Where a client lives: the worker that serves it, and the descriptors that wake it. It is moved to another worker while it is
/// served, and neither misses a wake-up nor is served by two at a time.
final class WorkerHome: Sendable {
  private struct Watch {
    let descriptor: OwnedFD
    let source: Int
  }

  private struct State {
    /// Who serves it, or will when it is to be served.
    var worker: Worker
    var isServed = false
    /// Nobody serves it at the moment, whether or not it is to be served: it is on its way.
    var isMoving = false
    /// Where it comes back to; nil unless it is away.
    var awayFrom: Worker?
    var watches: [Watch] = []
  }

  /// What it has cost so far.
  let load = ClientLoad()
  private let state: Mutex<State>
  /// Held for a whole move, of which there is one at a time. Others that change the client only need `state`.
  private let moving = Mutex(())

  init(_ worker: Worker) { state = Mutex(State(worker: worker)) }

  /// Who serves the client, or will when it is to be served.
  var worker: Worker { state.withLock { $0.worker } }

  /// Has the client served from now on.
  func attach(_ client: any WorkerClient) {
    state.withLock { state in
      state.isServed = true
      if !state.isMoving { state.worker.attach(client) }
    }
  }

  /// Has it served no more; its worker may be in a last turn of it still. What is watched stays so.
  func detach(_ client: any WorkerClient) {
    state.withLock { state in
      state.isServed = false
      if !state.isMoving { state.worker.detach(client) }
    }
  }

  /// Watches a descriptor of the client, which is to be served (``Worker/watch(_:of:source:)``).
  ///
  /// - Throws: `Errno`, or ``DatapathError``.
  func watch(_ descriptor: OwnedFD, of client: any WorkerClient, source: Int) throws {
    try state.withLock { state in
      if !state.isMoving { try state.worker.watch(descriptor, of: client, source: source) }
      state.watches.append(Watch(descriptor: descriptor, source: source))
    }
  }

  /// Ends a watch.
  func unwatch(_ descriptor: OwnedFD) {
    state.withLock { state in
      state.watches.removeAll { $0.descriptor === descriptor }
      if !state.isMoving { state.worker.unwatch(descriptor) }
    }
  }

  /// Makes the worker look at all its clients.
  func nudge() { worker.nudge() }

  // MARK: Moves

  /// Has another worker serve the client from now on, now and in connections to come.
  ///
  /// - Throws: ``DatapathError`` `inUse`, while it is away; `stuck`, when the worker that serves it does not leave it in
  ///   time; or `Errno`. Then it stays where it is.
  func move(_ client: any WorkerClient, to worker: Worker) throws {
    try moving.withLock { _ in
      guard state.withLock({ $0.awayFrom == nil }) else {
        throw DatapathError(
          .inUse, "\(client.name) has a worker of its own until all of its guest's memory has arrived; move it then")
      }
      try carry(client, to: worker)
    }
  }

  /// Has another worker serve it for the time being.
  ///
  /// - Throws: As ``move(_:to:)``.
  func leave(_ client: any WorkerClient, for worker: Worker) throws {
    try moving.withLock { _ in
      let home = self.worker
      try carry(client, to: worker)
      state.withLock { $0.awayFrom = $0.awayFrom ?? home }
    }
  }

  /// Has it served as before ``leave(_:for:)``; nothing happens to one that is not away.
  ///
  /// - Throws: As ``move(_:to:)``.
  func comeBack(_ client: any WorkerClient) throws {
    try moving.withLock { _ in
      guard let home = state.withLock({ $0.awayFrom }) else { return }
      try carry(client, to: home)
      state.withLock { $0.awayFrom = nil }
    }
  }

  /// Takes the client from one worker to the other: with `moving` held.
  private func carry(_ client: any WorkerClient, to worker: Worker) throws {
    let old = self.worker
    guard old !== worker else { return }
    depart(client)
    do {
      // Two workers must not meet in a queue, be it that the one only looks whether there is anything left.
      try old.settle()
    } catch {
      try arrive(client, at: old)
      throw error
    }
    do {
      try arrive(client, at: worker)
    } catch {
      // There is room again for what the other one has watched before.
      depart(client)
      do {
        try worker.settle()
      } catch {
        // The new one may be in a turn of it still, so nobody else serves it before a later move has found it left.
        state.withLock { state in
          state.worker = old
          state.isMoving = false
        }
        throw error
      }
      try arrive(client, at: old)
      throw error
    }
  }

  private func depart(_ client: any WorkerClient) {
    state.withLock { state in
      state.isMoving = true
      state.worker.detach(client)
      for watch in state.watches { state.worker.unwatch(watch.descriptor) }
    }
  }

  /// A client that is attached is looked at at once, and a descriptor that was signalled on the way wakes it: nothing is
  /// missed.
  private func arrive(_ client: any WorkerClient, at worker: Worker) throws {
    try state.withLock { state in
      state.worker = worker
      state.isMoving = false
      guard state.isServed else { return }
      worker.attach(client)
      for watch in state.watches { try worker.watch(watch.descriptor, of: client, source: watch.source) }
    }
  }
}
