import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// What workers do when their clients have nothing to do, and what they tell of it.
struct WorkerModeTests {
  /// Waits for what a worker is to do.
  ///
  /// - Returns: Whether it has come: a bound on how long a lost wake-up holds up the tests, and no more.
  private func wait(until condition: () -> Bool) -> Bool {
    let end = MonotonicClock.nanoseconds + 20_000_000_000
    while !condition() {
      guard MonotonicClock.nanoseconds < end else { return false }
      sched_yield()
    }
    return true
  }

  private func withWorker(
    _ mode: WorkerConfiguration.Mode, idleTime: Int = WorkerConfiguration.usualIdleTime, _ body: (Worker) throws -> Void
  ) throws {
    let worker = try Worker(name: "test", mode: mode, cpu: nil, idleTime: idleTime)
    defer { worker.stop() }
    try body(worker)
  }

  private func attach(_ client: KickedClient, to worker: Worker) throws {
    worker.attach(client)
    try worker.watch(client.kick, of: client, source: 0)
  }

  @Test("An adaptive worker goes to sleep when there is nothing to do, is woken by a kick, and sleeps again")
  func sleeps() throws {
    try withWorker(.adaptive) { worker in
      let clients = try (0..<3).map { _ in try KickedClient() }
      worker.pause()
      for client in clients { try attach(client, to: worker) }
      // All that attaching and resuming signal ends the first sleep; the second is one that only a kick ends.
      let first = worker.statistics.sleeps + 2
      worker.resume()
      #expect(wait { worker.statistics.sleeps == first })
      for i in 0..<30 {
        let client = clients[i % 3]
        // Asleep: nobody has a turn, and all have asked for kicks.
        #expect(wait { worker.position.client == 0 && clients.allSatisfy(\.isAsking) })
        let (sleeps, wakes) = (worker.statistics.sleeps, client.wakes)
        client.give()
        #expect(wait { client.done == i / 3 + 1 })
        // By its kick and by nothing else.
        #expect(client.wakes == wakes + 1)
        #expect(wait { worker.statistics.sleeps > sleeps })
      }
      // Nothing else has woken it, not even for a moment.
      #expect(worker.statistics.sleeps == first + 30)
    }
  }

  @Test("An adaptive worker that has just been busy is not asleep: what comes then needs no kick")
  func staysAwake() throws {
    try withWorker(.adaptive, idleTime: WorkerConfiguration.longestIdleTime) { worker in
      let client = try KickedClient()
      try attach(client, to: worker)
      for i in 0..<1000 {
        client.give()
        #expect(wait { client.done == i + 1 })
      }
      #expect(client.wakes == 0)
      #expect(worker.statistics.sleeps <= 2)
    }
  }

  @Test("A polling worker does not sleep", arguments: [1, 40])
  func pollingIsAwake(count: Int) throws {
    try withWorker(.poll) { worker in
      let clients = try (0..<count).map { _ in try KickedClient() }
      for client in clients { try attach(client, to: worker) }
      for client in clients { #expect(wait { !client.isAsking }) }
      let sleeps = worker.statistics.sleeps
      for round in 1...200 {
        for client in clients { client.give() }
        for client in clients { #expect(wait { client.done == round }) }
      }
      #expect(clients.allSatisfy { $0.wakes == 0 && !$0.isAsking })
      #expect(worker.statistics.sleeps == sleeps)
    }
  }

  @Test("No wake-up is lost on the way to sleep, whatever the moment", arguments: WorkerConfiguration.Mode.allCases)
  func noWakeupIsLost(mode: WorkerConfiguration.Mode) throws {
    for idleTime in [0, 1, 20] where idleTime == 0 || mode == .adaptive {
      try withWorker(mode, idleTime: idleTime) { worker in
        let clients = try (0..<3).map { _ in try KickedClient() }
        for client in clients { try attach(client, to: worker) }
        for i in 0..<6000 {
          let client = clients[i % 3]
          client.give()
          guard wait(until: { client.done == i / 3 + 1 }) else {
            Issue.record("piece \(i) was never done, \(idleTime) µs")
            return
          }
          // From no time at all to well asleep.
          for _ in 0..<(i % 50 * 40) { _ = client.isAsking }
        }
      }
    }
  }

  @Test("Modes change while clients are served, and no wake-up is lost")
  func modesChange() throws {
    try withWorker(.poll, idleTime: 5) { worker in
      let clients = try (0..<3).map { _ in try KickedClient() }
      for client in clients { try attach(client, to: worker) }
      let isStopping = Atomic<Bool>(false)
      let changes = Atomic<Int>(0)
      let changer = try PinnedThread(name: "changer") {
        while !isStopping.load(ordering: .relaxed) {
          let count = changes.add(1, ordering: .relaxed).newValue
          worker.mode = WorkerConfiguration.Mode.allCases[count % 3]
          usleep(UInt32(count % 7 * 20))
        }
      }
      defer {
        isStopping.store(true, ordering: .relaxed)
        changer.join()
      }
      var i = 0
      while i < 6000 || changes.load(ordering: .relaxed) < 600 {
        let client = clients[i % 3]
        client.give()
        guard wait(until: { client.done == i / 3 + 1 }) else {
          Issue.record("piece \(i) was never done, in \(worker.mode) mode")
          return
        }
        i += 1
      }
      #expect(clients.reduce(0) { $0 + $1.wakes } > 0)
    }
  }

  @Test("A worker that is told to sleep sleeps, and one that is told to poll wakes up by itself")
  func told() throws {
    try withWorker(.poll) { worker in
      let client = try KickedClient()
      try attach(client, to: worker)
      for mode in [WorkerConfiguration.Mode.event, .adaptive] {
        #expect(wait { !client.isAsking })
        worker.mode = mode
        #expect(worker.statistics.mode == mode)
        #expect(wait { client.isAsking && worker.position.client == 0 })
        worker.mode = .poll
      }
      #expect(wait { !client.isAsking })
    }
  }

  // MARK: Statistics

  @Test(
    "Turns with something to do are counted, and time is that of turns with, of turns without, or of sleep",
    arguments: WorkerConfiguration.Mode.allCases)
  func statistics(mode: WorkerConfiguration.Mode) throws {
    try withWorker(mode) { worker in
      let (client, quiet) = (try KickedClient(), try KickedClient())
      try attach(client, to: worker)
      try attach(quiet, to: worker)
      #expect(wait { worker.statistics.turns >= 2 })
      let before = worker.statistics
      #expect(before.name == "test" && before.mode == mode && before.cpu == nil && before.queues == 2)
      for i in 0..<100 {
        client.give()
        #expect(wait { client.done == i + 1 })
      }
      // The last one is counted when its turn has ended.
      #expect(wait { worker.statistics.busyTurns == before.busyTurns + 100 })
      let after = worker.statistics
      #expect(after.busyCycles > before.busyCycles && after.turns >= before.turns + 100)
      let loads = worker.clients.map(\.load)
      #expect(loads.map(\.turns) == [100, 0] && loads[0].cycles == after.busyCycles && loads[1].cycles == 0)
      if mode == .poll {
        #expect(wait { worker.statistics.idleCycles > after.idleCycles })
        #expect(worker.statistics.asleepCycles == after.asleepCycles)
      } else {
        #expect(wait { worker.position.client == 0 && worker.statistics.sleeps > before.sleeps })
        let sleeps = worker.statistics.sleeps
        quiet.give()
        #expect(wait { worker.statistics.sleeps > sleeps && worker.statistics.asleepCycles > before.asleepCycles })
      }
    }
  }

  @Test("Load is the share of cycles since an earlier look, and 0 where there is nothing to be known")
  func load() {
    func at(_ busy: UInt64, _ idle: UInt64, _ asleep: UInt64) -> WorkerStatistics {
      WorkerStatistics(
        name: "w", mode: .poll, cpu: nil, queues: 0, turns: 0, busyTurns: 0, busyCycles: busy, idleCycles: idle,
        asleepCycles: asleep, sleeps: 0)
    }
    #expect(at(25, 25, 50).load() == 0.25 && at(25, 25, 50).asleep() == 0.5)
    #expect(at(25, 25, 50).load(since: at(5, 15, 40)) == 0.5 && at(25, 25, 50).asleep(since: at(5, 15, 40)) == 0.25)
    #expect(at(0, 0, 0).load() == 0 && at(5, 5, 5).load(since: at(5, 5, 5)) == 0)
    #expect(at(4, 9, 9).load(since: at(5, 5, 5)) == 0)
  }
}
