internal import VDPA

/// Where the queues of a device live while their guest's memory may lack pages: with a worker of their own, so that waiting
/// for a page holds up nobody else.
struct PostcopyHome {
  private var worker: Worker?

  /// Moves the queues there, before they are served.
  ///
  /// - Parameter move: Has a worker serve all queues.
  mutating func enter(_ move: (Worker) throws -> Void) throws {
    guard worker == nil else { return }
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
  /// - Parameter move: Has each queue be served by the worker that it had.
  mutating func leave(_ move: () throws -> Void) throws {
    guard let worker else { return }
    // Nothing is in a burst from here on.
    worker.pause()
    defer {
      worker.stop()
      self.worker = nil
    }
    try move()
  }
}
