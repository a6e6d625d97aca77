internal import VDPA

/// Where the queues of a device live while their guest's memory may lack pages: with a worker of their own, so that waiting
/// for a page holds up nobody else.
struct PostcopyHome {
  private var worker: Worker?

  /// Moves the queues there, while they are served or before.
  ///
  /// - Parameters:
  ///   - queues: Of the device.
  ///   - leave: Has a worker serve a queue for the time being.
  ///   - comeBack: Has it served by the worker that it had.
  mutating func enter<Queue>(
    _ queues: [Queue], _ leave: (Queue, Worker) throws -> Void, undo comeBack: (Queue) throws -> Void
  ) throws {
    guard worker == nil else { return }
    let worker = try Worker(name: "vdpa-postcopy", mode: .event, cpu: nil)
    do {
      try queues.changeAll { queue in
        try leave(queue, worker)
      } undo: { queue in
        try comeBack(queue)
      }
    } catch {
      worker.stop()
      throw error
    }
    self.worker = worker
  }

  /// Moves them back, while they are served.
  ///
  /// - Parameter comeBack: Has a queue served by the worker that it had. All are tried.
  mutating func leave<Queue>(_ queues: [Queue], _ comeBack: (Queue) throws -> Void) throws {
    guard let worker else { return }
    // Nothing is in a burst from here on.
    worker.pause()
    defer {
      worker.stop()
      self.worker = nil
    }
    var failure: (any Error)?
    for queue in queues {
      do {
        try comeBack(queue)
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
  }
}
