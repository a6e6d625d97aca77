import Testing
import VDPA

/// What a checker says of every way in which packets can come back.
struct TrafficCheckerTests {
  /// A checker of so many packets sent, and their frames.
  private func sent(_ count: Int, pair: UInt16 = 3) -> (TrafficChecker, [[UInt8]]) {
    var checker = TrafficChecker(pair: pair)
    let frames = (0..<count).map { checker.send(at: UInt64($0), length: 60).encoded }
    return (checker, frames)
  }

  /// A report's counters that are not 0.
  private func counters(_ checker: TrafficChecker) -> [String: UInt64] {
    let report = checker.result
    let all =
      report.counters + [
        ("inFlightAtReconnect", report.inFlightAtReconnect), ("lostAtReconnect", report.lostAtReconnect),
        ("repeatedAtReconnect", report.repeatedAtReconnect),
      ]
    return Dictionary(uniqueKeysWithValues: all.filter { $0.value > 0 }.map { ($0.name, $0.value) })
  }

  @Test("Packets that come back as they were sent are clean, with the time that they took")
  func clean() {
    var (checker, frames) = sent(1000)
    #expect(!checker.isComplete)
    for (i, frame) in frames.enumerated() { checker.receive(frame, at: UInt64(i) + 70) }
    #expect(counters(checker) == ["sent": 1000, "received": 1000])
    #expect(checker.result.isClean && checker.isComplete)
    #expect(checker.result.latency.count == 1000 && checker.result.latency.percentile(1) == 70)
  }

  @Test("A gap is a loss, wherever it is", arguments: [[0], [5], [5, 6, 7], [99], Array(0..<100)])
  func loss(missing: [Int]) {
    var (checker, frames) = sent(100)
    for (i, frame) in frames.enumerated() where !missing.contains(i) { checker.receive(frame, at: 100) }
    let received = UInt64(100 - missing.count)
    #expect(
      counters(checker) == ["sent": 100, "received": received, "lost": UInt64(missing.count)].filter { $0.value > 0 })
    #expect(!checker.result.isClean && !checker.isComplete)
  }

  @Test("A second time is a repetition, at once or much later", arguments: [1, 50])
  func duplicate(distance: Int) {
    var (checker, frames) = sent(100)
    for (i, frame) in frames.enumerated() {
      checker.receive(frame, at: 100)
      if i == 20 + distance { checker.receive(frames[20], at: 100) }
    }
    #expect(counters(checker) == ["sent": 100, "received": 100, "duplicated": 1])
    #expect(!checker.result.isClean && checker.isComplete)
  }

  @Test("Two that change places: one is out of order, and none is lost")
  func swap() {
    var (checker, frames) = sent(100)
    frames.swapAt(40, 41)
    for frame in frames { checker.receive(frame, at: 100) }
    #expect(counters(checker) == ["sent": 100, "received": 100, "reordered": 1])
    #expect(!checker.result.isClean && checker.isComplete)
  }

  @Test("A changed content is a corruption of that packet; changed numbers are one of a packet that then is missing")
  func corruption() {
    var (checker, frames) = sent(100)
    frames[30][59] ^= 1
    frames[60][20] ^= 1
    for frame in frames { checker.receive(frame, at: 100) }
    #expect(counters(checker) == ["sent": 100, "received": 98, "corrupted": 2, "lost": 1])
    #expect(!checker.result.isClean)
  }

  @Test("What was never sent is a corruption, and another pair's packet is misdirected")
  func foreign() {
    var (checker, _) = sent(0)
    checker.receive(NumberedPacket(pair: 3, number: 0, time: 0, length: 60).encoded, at: 0)
    checker.receive(NumberedPacket(pair: 3, number: .max, time: 0, length: 60).encoded, at: 0)
    checker.receive(NumberedPacket(pair: 4, number: 0, time: 0, length: 60).encoded, at: 0)
    checker.receive([], at: 0)
    checker.receive(Array(repeating: 0xff, count: 1514), at: 0)
    #expect(counters(checker) == ["corrupted": 4, "misdirected": 1])
    #expect(!checker.result.isClean)
  }

  @Test("Losses far behind are still counted, and a packet too far behind to tell is a repetition")
  func window() {
    let count = Int(TrafficChecker.window) * 2 + 100
    var (checker, frames) = sent(count)
    for (i, frame) in frames.enumerated() where i % 1000 != 7 { checker.receive(frame, at: UInt64(count)) }
    let lost = UInt64((count - 8) / 1000 + 1)
    #expect(counters(checker) == ["sent": UInt64(count), "received": UInt64(count) - lost, "lost": lost])
    checker.receive(frames[7], at: UInt64(count))
    #expect(checker.result.duplicated == 1 && checker.result.lost == lost)
    // One that still can be told.
    checker.receive(frames[130_007], at: UInt64(count))
    #expect(checker.result.reordered == 1 && checker.result.lost == lost - 1)
  }

  // MARK: Reconnects

  /// 100 sent, 60 came, 50 were returned as sent.
  private func interrupted() -> (TrafficChecker, [[UInt8]]) {
    var (checker, frames) = sent(100)
    for frame in frames[..<60] { checker.receive(frame, at: 100) }
    checker.reconnect(oldestWithDevice: 50)
    return (checker, frames)
  }

  @Test("What a back-end took with it is not lost, but counted by itself")
  func lostAtReconnect() {
    var (checker, frames) = interrupted()
    for frame in frames[80...] { checker.receive(frame, at: 100) }
    #expect(
      counters(checker) == ["sent": 100, "received": 80, "inFlightAtReconnect": 50, "lostAtReconnect": 20])
    #expect(checker.result.isClean && checker.result.reconnects == 1)
  }

  @Test("What a back-end had delivered and not returned comes once more, and only once")
  func repeatedAtReconnect() {
    var (checker, frames) = interrupted()
    for frame in frames[50...] { checker.receive(frame, at: 100) }
    #expect(
      counters(checker) == ["sent": 100, "received": 100, "inFlightAtReconnect": 50, "repeatedAtReconnect": 10])
    #expect(checker.result.isClean && checker.isComplete)
    checker.receive(frames[55], at: 100)
    #expect(checker.result.duplicated == 1)
    // What it had returned as sent cannot come again.
    checker.receive(frames[49], at: 100)
    #expect(checker.result.duplicated == 2)
  }

  @Test("A loss before a reconnect is a loss, and so is one after it")
  func lossBeside() {
    var (checker, frames) = sent(100)
    for (i, frame) in frames[..<60].enumerated() where i != 10 { checker.receive(frame, at: 100) }
    checker.reconnect(oldestWithDevice: 60)
    for frame in frames[60...] { checker.receive(frame, at: 100) }
    for i in 0..<10 {
      let frame = checker.send(at: 100, length: 60).encoded
      if i != 5 { checker.receive(frame, at: 100) }
    }
    #expect(counters(checker) == ["sent": 110, "received": 108, "lost": 2, "inFlightAtReconnect": 40])
  }

  @Test("What is in flight at one reconnect after the other is counted once")
  func twice() {
    var (checker, frames) = interrupted()
    for frame in frames[65..<70] { checker.receive(frame, at: 100) }
    // 60 to 64 can come no more, 70 to 99 may.
    checker.reconnect(oldestWithDevice: 70)
    #expect(
      counters(checker) == ["sent": 100, "received": 65, "inFlightAtReconnect": 50, "lostAtReconnect": 35])
    for frame in frames[70...] { checker.receive(frame, at: 100) }
    #expect(counters(checker) == ["sent": 100, "received": 95, "inFlightAtReconnect": 50, "lostAtReconnect": 5])
    #expect(checker.result.isClean && checker.result.reconnects == 2 && checker.isComplete)
  }
}
