import VDPA

/// What an operator, or something that balances load, sees of the workers and does with them while they run.
extension SoftwareEngine {
  /// What each worker has done so far, in the order of ``WorkerConfiguration/cpus``. Costs the workers nothing.
  public var workerStatistics: [WorkerStatistics] { workers.map(\.statistics) }

  /// All queues that are served now, by worker, with what each has cost. Those of a connection are there from its start to its
  /// end; those of application ports are the application's and no worker's, and those of a guest that arrives by postcopy are
  /// with a worker of their own meanwhile.
  public var queueLoads: [QueueLoad] {
    workers.enumerated().flatMap { index, worker in
      worker.clients.map {
        QueueLoad(name: $0.client.name, worker: index, busyTurns: $0.load.turns, busyCycles: $0.load.cycles)
      }
    }
  }

  /// Changes what a worker does when its queues are empty, while it serves them: nothing is lost, and it holds from the next
  /// turn on.
  ///
  /// - Parameter index: The worker's place in ``workerStatistics``; nil for all of them.
  /// - Throws: ``DatapathError`` `notFound`.
  public func setMode(_ mode: WorkerConfiguration.Mode, ofWorker index: Int? = nil) throws(DatapathError) {
    guard let index else {
      for worker in workers { worker.mode = mode }
      return
    }
    try worker(index).mode = mode
  }

  /// Has another worker serve a queue from now on, while it is served: nothing is lost, nothing changes its order, and it stays
  /// there when its front-end goes and comes back.
  ///
  /// Returns when the one has left it and the other one has it, which takes as long as a turn of each.
  ///
  /// - Parameters:
  ///   - name: The queue's in ``queueLoads``.
  ///   - index: The worker's place in ``workerStatistics``.
  /// - Throws: ``DatapathError`` `notFound`, for a queue that is not served now, or a worker that there is not; `inUse`, for
  ///   a name that several queues have, or a queue whose guest is arriving by postcopy; `stuck`, when its worker has not
  ///   left it after two seconds; or `system`. Then it stays where it is.
  public func move(queue name: String, toWorker index: Int) throws(DatapathError) {
    let target = try worker(index)
    let found = workers.flatMap(\.clients).filter { $0.client.name == name }
    guard let client = found.first?.client, let home = client.home else {
      throw DatapathError(
        .notFound,
        "no worker serves a queue \"\(name)\"; its front-end has to be connected, and queueLoads has the names")
    }
    // Of one that is being moved both workers may have told.
    guard found.allSatisfy({ $0.client === client }) else {
      throw DatapathError(.inUse, "\(found.count) queues are called \"\(name)\"; give their sockets different names")
    }
    do {
      try home.move(client, to: target)
    } catch let error as DatapathError {
      throw error
    } catch {
      throw DatapathError(.system, "\(name) cannot be moved to \(target.name): \(error)")
    }
  }

  private func worker(_ index: Int) throws(DatapathError) -> Worker {
    guard workers.indices.contains(index) else {
      throw DatapathError(.notFound, "there is no worker \(index); there are 0 to \(workers.count - 1)")
    }
    return workers[index]
  }
}
