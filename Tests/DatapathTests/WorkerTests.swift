import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A worker and clients that only count.
struct WorkerTests {
  private final class Client: WorkerClient {
    let name: String
    let isPolled: Bool
    let turns = Atomic<Int>(0)
    /// How much work is left; each turn does one piece.
    let work = Atomic<Int>(0)
    let sources = Mutex<[Int]>([])

    init(_ name: String, needsPolling: Bool = false) {
      self.name = name
      isPolled = needsPolling
    }

    var needsPolling: Bool { isPolled }

    func serve(_ burst: PacketBurst, isPolled: Bool) -> Int {
      turns.add(1, ordering: .relaxed)
      guard work.load(ordering: .relaxed) > 0 else { return 0 }
      work.subtract(1, ordering: .relaxed)
      return 1
    }

    func woken(by source: Int) { sources.withLock { $0.append(source) } }

    var turnCount: Int { turns.load(ordering: .relaxed) }
  }

  private func withWorker(_ mode: WorkerConfiguration.Mode = .event, _ body: (Worker) throws -> Void) throws {
    let worker = try Worker(name: "test", mode: mode, cpu: nil)
    defer { worker.stop() }
    try body(worker)
  }

  /// Waits for what a worker is to do; there is no bound on when a thread runs.
  private func wait(until condition: () -> Bool) {
    while !condition() { usleep(200) }
  }

  @Test("A client is told which of its descriptors woke it, and is served until nothing is left to do")
  func sources() throws {
    try withWorker { worker in
      let (one, two) = (Client("one"), Client("two"))
      worker.attach(one)
      worker.attach(two)
      let descriptors = try (0..<3).map { _ in try EventFD.make() }
      try worker.watch(descriptors[0], of: one, source: 0)
      try worker.watch(descriptors[1], of: one, source: Worker.maxSources - 1)
      try worker.watch(descriptors[2], of: two, source: 7)
      // Both have been looked at since they were attached.
      wait { one.turnCount > 0 && two.turnCount > 0 }
      one.work.store(100, ordering: .relaxed)
      EventFD.signal(descriptors[1])
      wait { one.work.load(ordering: .relaxed) == 0 }
      EventFD.signal(descriptors[0])
      EventFD.signal(descriptors[2])
      wait { one.sources.withLock { $0.count } == 2 && two.sources.withLock { $0.count } == 1 }
      #expect(one.sources.withLock { $0 } == [Worker.maxSources - 1, 0])
      #expect(two.sources.withLock { $0 } == [7])
      // Edge-triggered and never read: each signal wakes, the count stays.
      EventFD.signal(descriptors[2])
      wait { two.sources.withLock { $0.count } == 2 }
      #expect(EventFD.drain(descriptors[2]) == 2)
    }
  }

  @Test("A descriptor that is no longer watched, and a client that is no longer attached, wake nobody")
  func forgotten() throws {
    try withWorker { worker in
      let (one, two) = (Client("one"), Client("two"))
      worker.attach(one)
      worker.attach(two)
      let (left, kept) = (try EventFD.make(), try EventFD.make())
      try worker.watch(left, of: one, source: 0)
      try worker.watch(kept, of: two, source: 0)
      worker.unwatch(left)
      worker.detach(one)
      wait { two.turnCount > 0 }
      EventFD.signal(left)
      // What comes after it has come through, so that one would have too.
      EventFD.signal(kept)
      wait { two.sources.withLock { $0.count } == 1 }
      let (turns, before) = (one.turnCount, two.turnCount)
      worker.nudge()
      wait { two.turnCount > before }
      #expect(one.sources.withLock { $0.isEmpty } && one.turnCount == turns)
      let error = #expect(throws: DatapathError.self) { try worker.watch(left, of: one, source: 0) }
      #expect(error?.description.contains("one") == true)
    }
  }

  @Test("A client without a kick descriptor is looked at again and again, the others are not")
  func polling() throws {
    try withWorker { worker in
      let (polled, quiet) = (Client("polled", needsPolling: true), Client("quiet"))
      worker.attach(polled)
      worker.attach(quiet)
      wait { quiet.turnCount > 0 && polled.turnCount > 3 }
      let (before, quietTurns) = (polled.turnCount, quiet.turnCount)
      wait { polled.turnCount > before + 20 }
      #expect(quiet.turnCount == quietTurns)
    }
  }

  @Test("A client that is attached twice is served once a turn", arguments: WorkerConfiguration.Mode.allCases)
  func twice(mode: WorkerConfiguration.Mode) throws {
    try withWorker(mode) { worker in
      let (one, two) = (Client("one"), Client("two"))
      worker.attach(one)
      worker.attach(one)
      worker.attach(two)
      wait { one.turnCount > 0 && two.turnCount > 0 }
      worker.detach(one)
      let before = two.turnCount
      worker.nudge()
      wait { two.turnCount > before }
      let (turns, next) = (one.turnCount, two.turnCount)
      worker.nudge()
      wait { two.turnCount > next }
      #expect(one.turnCount == turns)
    }
  }

  @Test(
    "A client that was detached is served no more once the worker has settled, also when it stands still",
    arguments: [.event, .poll] as [WorkerConfiguration.Mode])
  func settles(mode: WorkerConfiguration.Mode) throws {
    try withWorker(mode) { worker in
      for isPaused in [false, true] {
        let client = Client("counted")
        client.work.store(.max, ordering: .relaxed)
        worker.attach(client)
        let deadline = ContinuousClock.now + .seconds(10)
        while client.turnCount == 0 && ContinuousClock.now < deadline { usleep(100) }
        #expect(client.turnCount > 0)
        if isPaused { worker.pause() }
        worker.detach(client)
        try worker.settle()
        let turns = client.turnCount
        usleep(10_000)
        #expect(client.turnCount == turns)
        if isPaused { worker.resume() }
      }
    }
  }
}
