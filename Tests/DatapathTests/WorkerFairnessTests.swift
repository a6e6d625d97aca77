import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Who of a worker's clients has turns, counted and not timed.
struct WorkerFairnessTests {
  /// Notes its turns in a list that it shares with others of the same worker.
  private final class Client: WorkerClient {
    let name: String
    let needsPolling: Bool
    let kick: OwnedFD
    let isEndless: Bool
    private let number: Int
    private let turns: Turns
    let count = Atomic<Int>(0)

    init(_ number: Int, _ turns: Turns, isEndless: Bool, needsPolling: Bool = false) throws {
      name = "client \(number)"
      self.number = number
      self.turns = turns
      self.isEndless = isEndless
      self.needsPolling = needsPolling
      kick = try EventFD.make()
    }

    func serve(_ burst: PacketBurst, isPolled: Bool) -> Int {
      count.add(1, ordering: .relaxed)
      turns.add(number)
      return isEndless ? 32 : 0
    }

    func woken(by source: Int) {}
  }

  /// Whose turns there were, one after the other.
  private final class Turns: Sendable {
    private let list = Mutex<[Int]>([])
    func add(_ number: Int) { list.withLock { if $0.count < 200_000 { $0.append(number) } } }
    var all: [Int] { list.withLock { $0 } }
    func clear() { list.withLock { $0 = [] } }
  }

  private func wait(until condition: () -> Bool) {
    for _ in 0..<100_000 {
      if condition() { return }
      usleep(200)
    }
    Issue.record("what was waited for has not come")
  }

  @Test("Clients that are never done have turns in turn, a burst each", arguments: WorkerConfiguration.Mode.allCases)
  func inTurn(mode: WorkerConfiguration.Mode) throws {
    let worker = try Worker(name: "test", mode: mode, cpu: nil)
    defer { worker.stop() }
    let turns = Turns()
    let clients = try (0..<4).map { try Client($0, turns, isEndless: true) }
    for client in clients { worker.attach(client) }
    wait { clients.allSatisfy { $0.count.load(ordering: .relaxed) > 0 } }
    turns.clear()
    wait { turns.all.count > 4000 }
    let all = turns.all
    for i in 4..<4000 { #expect(Set(all[(i - 4)..<i]).count == 4) }
  }

  @Test("One that is never done keeps nobody from being noticed", arguments: WorkerConfiguration.Mode.allCases)
  func endless(mode: WorkerConfiguration.Mode) throws {
    let worker = try Worker(name: "test", mode: mode, cpu: nil)
    defer { worker.stop() }
    let turns = Turns()
    let greedy = try Client(0, turns, isEndless: true)
    let kickless = try Client(1, turns, isEndless: false, needsPolling: true)
    let kicked = try (0..<20).map { _ in try KickedClient() }
    for client in [greedy, kickless] { worker.attach(client) }
    for client in kicked {
      worker.attach(client)
      try worker.watch(client.kick, of: client, source: 0)
    }
    for round in 1...50 {
      for client in kicked { client.give() }
      wait { kicked.allSatisfy { $0.done == round } }
    }
    let before = kickless.count.load(ordering: .relaxed)
    wait { kickless.count.load(ordering: .relaxed) > before + 3 }
  }

  @Test(
    "A busy one among 64 is followed by the most looks at idle ones that there may be, or by less; each has its look",
    arguments: [.poll, .adaptive] as [WorkerConfiguration.Mode])
  func amongIdle(mode: WorkerConfiguration.Mode) throws {
    let worker = try Worker(name: "test", mode: mode, cpu: nil)
    defer { worker.stop() }
    let turns = Turns()
    let busy = try Client(0, turns, isEndless: true)
    let idle = try (1..<64).map { try Client($0, turns, isEndless: false) }
    for client in [busy] + idle { worker.attach(client) }
    // From the last change on each has so many turns before it rests.
    wait { idle.allSatisfy { $0.count.load(ordering: .relaxed) > ClientSchedule.patience } }
    turns.clear()
    wait { turns.all.count > 100_000 }
    let all = turns.all
    let ofBusy = all.count { $0 == 0 }
    // What was seen may begin and end in the middle of a round.
    #expect((ofBusy + 1) * (ClientSchedule.mostLooks + 1) >= all.count)
    // None of them is forgotten.
    #expect(Set(all).count == 64)
  }

  @Test("In event mode idle ones are not looked at")
  func asleep() throws {
    let worker = try Worker(name: "test", mode: .event, cpu: nil)
    defer { worker.stop() }
    let turns = Turns()
    let busy = try Client(0, turns, isEndless: true)
    let idle = try (1..<64).map { try Client($0, turns, isEndless: false) }
    for client in idle + [busy] { worker.attach(client) }
    wait { busy.count.load(ordering: .relaxed) > 10 }
    let before = idle.map { $0.count.load(ordering: .relaxed) }
    wait { busy.count.load(ordering: .relaxed) > 10_000 }
    #expect(idle.map { $0.count.load(ordering: .relaxed) } == before)
  }
}
