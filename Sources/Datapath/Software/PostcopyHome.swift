internal import VDPA

/// Where the queues of a device live while their guest's memory may lack pages: with a worker of their own, so that waiting
/// for a page holds up nobody else.
struct PostcopyHome {
  private var worker: Worker?

  /// Moves the queues there, before they are served.
  ///
  /// - Parameters:
  ///   - homes: Who served them before, if they have been.
  ///   - move: Has a worker serve all queues.
  mutating func enter(from homes: [Worker], _ move: (Worker) throws -> Void) throws {
    guard worker == nil else { return }
    // Two workers must not meet in a queue, be it that the one only looks whether there is anything left.
    for home in homes { try home.settle() }
    let worker = try Worker(name: "vdpa-postcopy", mode: .event, cpu: nil)
    self.worker = worker
    do {
      try move(worker)
    } catch {
      worker.stop()
      self.worker = nil
      throw error
    }
  }

  /// Moves them back, while they are served.
  ///
  /// - Parameter moves: Each has one queue be served by the worker that it had. All are tried.
  mutating func leave(_ moves: [() throws -> Void]) throws {
    guard let worker else { return }
    // Nothing is in a burst from here on.
    worker.pause()
    defer {
      worker.stop()
      self.worker = nil
    }
    var failure: (any Error)?
    for move in moves {
      do {
        try move()
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
  }
}
