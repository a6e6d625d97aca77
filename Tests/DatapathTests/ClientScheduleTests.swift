import Testing
import VDPA
import Virtio

@testable import Datapath

/// Whose turn it is, with a clock that only the test moves: a cycle is a nanosecond.
struct ClientScheduleTests {
  private final class Client: WorkerClient {
    let name = "client"
    let needsPolling = false
    func serve(_ burst: PacketBurst, isPolled: Bool) -> Int { 0 }
    func woken(by source: Int) {}
  }

  private func schedule(_ count: Int, firstID: UInt64 = 1) -> ClientSchedule {
    var schedule = ClientSchedule(cyclesPerMicrosecond: 1000)
    schedule.reset((0..<count).map { ServedClient(id: firstID + UInt64($0), client: Client()) })
    return schedule
  }

  /// A round in which some have work.
  ///
  /// - Returns: Who was turned to.
  private func round(
    _ schedule: inout ClientSchedule, patience: Int = ClientSchedule.patience, hasWork: (Int) -> Bool
  ) -> [Int] {
    var (turns, place): ([Int], Int) = ([], 0)
    while let index = schedule.inRound(place) {
      turns.append(index)
      if schedule.note(index, work: hasWork(index) ? 1 : 0, patience: patience) { place += 1 }
    }
    return turns
  }

  @Test("All have a turn in every round, until they had nothing to do often enough in a row; then they rest")
  func rest() {
    var schedule = schedule(5)
    for _ in 1..<ClientSchedule.patience {
      #expect(round(&schedule) { $0 == 2 }.sorted() == [0, 1, 2, 3, 4])
    }
    // One has something to do just in time.
    #expect(round(&schedule) { $0 == 2 || $0 == 3 }.sorted() == [0, 1, 2, 3, 4])
    #expect(round(&schedule) { $0 == 2 }.sorted() == [2, 3])
    #expect(schedule.busyCount == 2)
    schedule.wake(4)
    schedule.wake(4)
    #expect(round(&schedule) { $0 == 2 }.sorted() == [2, 3, 4])
  }

  @Test("While one is busy, each of 63 that rest is looked at within 32 µs, and no more often than every half one")
  func looks() {
    var schedule = schedule(64)
    for _ in 0..<ClientSchedule.patience { _ = round(&schedule) { $0 == 7 } }
    #expect(schedule.busyCount == 1)
    for roundTime: UInt64 in [100, 300, 500, 700, 1900, 4000] {
      var (now, looks, last): (UInt64, UInt64, [Int: UInt64]) = (1_000_000, 0, [:])
      _ = schedule.looksDue(at: now, isIdle: false)
      var longest: UInt64 = 0
      for _ in 0..<(2_000_000 / roundTime) {
        now += roundTime
        for _ in 0..<schedule.looksDue(at: now, isIdle: false) {
          let index = schedule.nextLook()
          if let before = last[index] { longest = max(longest, now - before) }
          last[index] = now
          looks += 1
        }
      }
      #expect(last.count == 63)
      // Half a microsecond is rounded up to rounds, or down to the looks that are due after one.
      let pace = max(500, roundTime < 500 ? (500 + roundTime - 1) / roundTime * roundTime : roundTime)
      #expect(longest <= 63 * min(pace, 1000) + roundTime, "\(longest) ns at rounds of \(roundTime)")
      #expect(looks <= 2_000_000 / 500 + 1, "\(looks) looks at rounds of \(roundTime)")
    }
  }

  @Test("Long rounds of many busy ones are followed by as many looks as there are busy ones, at most")
  func longRounds() {
    var schedule = schedule(64)
    for _ in 0..<ClientSchedule.patience { _ = round(&schedule) { $0 < 20 } }
    #expect(schedule.busyCount == 20)
    _ = schedule.looksDue(at: 1_000_000, isIdle: false)
    #expect(schedule.looksDue(at: 2_000_000, isIdle: false) == 20)
    // A clock that goes backwards, as those of two CPUs may, holds nothing up.
    #expect(schedule.looksDue(at: 1_000_000, isIdle: false) == 20)
    #expect(schedule.looksDue(at: 1_000_400, isIdle: false) == 0)
    #expect(schedule.looksDue(at: 1_000_500, isIdle: false) == 1)
  }

  @Test("While nobody has anything to do, one that rests is looked at after every round, whatever the time")
  func idleLooks() {
    var schedule = schedule(3)
    for _ in 0..<ClientSchedule.patience { _ = round(&schedule) { _ in false } }
    #expect(schedule.busyCount == 0)
    _ = schedule.looksDue(at: 1000, isIdle: true)
    var seen: [Int] = []
    for _ in 0..<6 {
      #expect(schedule.looksDue(at: 1000, isIdle: true) == 1)
      seen.append(schedule.nextLook())
      #expect(schedule.isLapDone == (seen.count % 3 == 0))
    }
    #expect(Set(seen.prefix(3)) == [0, 1, 2] && seen.prefix(3) == seen.suffix(3))
  }

  @Test("Whoever is woken while others rest, nobody else misses a look in that lap or has two", arguments: 1...6)
  func laps(count: Int) {
    for woken in 0..<count {
      for position in 0...count {
        var schedule = schedule(count)
        for _ in 0..<ClientSchedule.patience { _ = round(&schedule) { _ in false } }
        var seen = (0..<position).map { _ in schedule.nextLook() }
        let before = Set(seen)
        schedule.wake(woken)
        let rest = Set(0..<count).subtracting(before).subtracting([woken])
        for _ in 0..<rest.count { seen.append(schedule.nextLook()) }
        #expect(Set(seen).union([woken]) == Set(0..<count), "\(woken) woken after \(position) of \(count)")
        #expect(seen.count == Set(seen).count, "\(woken) woken after \(position) of \(count)")
      }
    }
  }

  @Test("A number is found as long as its client is served")
  func numbers() {
    var schedule = schedule(5, firstID: 10)
    #expect((9...15).map { schedule.index(of: $0) } == [nil, 0, 1, 2, 3, 4, nil])
    schedule.reset([])
    #expect(schedule.isEmpty && schedule.index(of: 10) == nil)
  }
}
