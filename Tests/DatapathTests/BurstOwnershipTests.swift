import Glibc
import Synchronization
import Testing
import VDPA

@testable import Datapath

struct BurstOwnershipTests {
  /// Two numbers that are equal whenever nobody is at work on them.
  private struct Pair {
    var one: UInt64 = 0
    var two: UInt64 = 0
  }

  @Test("A burst and a change never meet, and neither loses what it did")
  func exclusion() throws {
    let ownership = BurstOwnership(Pair())
    let isOver = Atomic<Bool>(false)
    let torn = Atomic<Int>(0)
    let bursts = Atomic<UInt64>(0)
    try withWorker(of: ownership) {
      while !isOver.load(ordering: .relaxed) {
        let done: Void? = ownership.burst { state in
          if state.one != state.two { torn.add(1, ordering: .relaxed) }
          state.one &+= 1
          state.two &+= 1
        }
        if done != nil { bursts.add(1, ordering: .relaxed) }
      }
    } control: {
      // The thread may take its time to start.
      while bursts.load(ordering: .relaxed) == 0 { sched_yield() }
      var changes: UInt64 = 0
      for _ in 0..<20_000 {
        try ownership.exclusively("the pair") { state in
          if state.one != state.two { torn.add(1, ordering: .relaxed) }
          state.one &+= 1
          state.two &+= 1
        }
        changes += 1
      }
      isOver.store(true, ordering: .relaxed)
      return changes
    } after: { changes in
      let (one, two) = try ownership.exclusively("the pair") { ($0.one, $0.two) }
      #expect(one == two)
      #expect(one == bursts.load(ordering: .relaxed) + changes)
      #expect(bursts.load(ordering: .relaxed) > 0)
      #expect(torn.load(ordering: .relaxed) == 0)
    }
  }

  @Test("Changes from several threads take turns")
  func changers() throws {
    let ownership = BurstOwnership(Pair())
    let threads = try (0..<4).map { i in
      try PinnedThread(name: "changer-\(i)") {
        for _ in 0..<2000 {
          try? ownership.exclusively("the pair") { state in
            state.one &+= 1
            state.two &+= 1
          }
        }
      }
    }
    for thread in threads { thread.join() }
    let (one, two) = try ownership.exclusively("the pair") { ($0.one, $0.two) }
    #expect(one == 8000 && two == 8000)
  }

  @Test("A burst does nothing while a change is under way, and a change waits for the burst that runs")
  func order() throws {
    let ownership = BurstOwnership(0)
    try ownership.exclusively("the number") { number in
      #expect(ownership.burst { _ in true } == nil)
      number = 1
    }
    #expect(ownership.burst { $0 } == 1)
    // A change that throws has ended too.
    #expect(throws: DatapathError.self) {
      try ownership.exclusively("the number") { _ in throw DatapathError(.system, "no") }
    }
    #expect(ownership.burst { $0 } == 1)
  }

  @Test("A burst that does not end is an error with the name, and the state stays closed until it is left")
  func stuck() throws {
    let ownership = BurstOwnership(0)
    let entered = FutexWord()
    let seen = entered.value
    let mayLeave = Atomic<Bool>(false)
    let worker = try PinnedThread(name: "stuck") {
      _ = ownership.burst { _ in
        entered.signal()
        while !mayLeave.load(ordering: .acquiring) {}
      }
    }
    while entered.value == seen { entered.wait(whileEqualTo: seen, nanoseconds: -1) }
    let error = try #require(throws: DatapathError.self) {
      try ownership.exclusively("vm0 queue pair 1", deadline: 20) { $0 = 1 }
    }
    #expect(error.code == .stuck)
    #expect(error.description.contains("vm0 queue pair 1"))
    mayLeave.store(true, ordering: .releasing)
    worker.join()
    // Nobody entered it meanwhile, and nobody does before a change has found it left.
    #expect(ownership.burst { $0 } == nil)
    #expect(try ownership.exclusively("vm0 queue pair 1") { $0 } == 0)
    #expect(ownership.burst { $0 } == 0)
  }

  /// Runs `work` on a thread of its own while `control` runs here, then `after` with what that returned.
  private func withWorker<State, Value>(
    of ownership: BurstOwnership<State>, _ work: @escaping @Sendable () -> Void, control: () throws -> Value,
    after: (Value) throws -> Void
  ) throws {
    let worker = try PinnedThread(name: "burst") { work() }
    let value = try control()
    worker.join()
    try after(value)
  }
}
