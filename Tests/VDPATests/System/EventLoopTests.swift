import Synchronization
import Testing
import VDPA

struct EventLoopTests {
  /// What happened, in order.
  private final class Trace: Sendable {
    private let items = Mutex<[String]>([])
    var all: [String] { items.withLock { $0 } }
    func add(_ item: String) { items.withLock { $0.append(item) } }
  }

  @Test("Jobs run on the loop's thread in the order in which they were handed over")
  func jobsInOrder() throws {
    let loop = try EventLoop(name: "test-loop")
    let trace = Trace()
    for i in 0..<100 { loop.run { trace.add("\(i) \(loop.isCurrent)") } }
    #expect(eventually { trace.all.count == 100 })
    #expect(trace.all == (0..<100).map { "\($0) true" })
    #expect(!loop.isCurrent)
    loop.stop()
  }

  @Test("Jobs that were handed over before the end still run")
  func stopRunsWhatWaits() throws {
    let loop = try EventLoop(name: "test-loop")
    let trace = Trace()
    loop.run { loop.run { loop.run { trace.add("third") } } }
    loop.stop()
    #expect(trace.all == ["third"])
  }

  @Test("Timers come in the order of their times, whatever the order in which they were set")
  func timersInOrder() throws {
    let loop = try EventLoop(name: "test-loop")
    let trace = Trace()
    loop.run(after: 60) { trace.add("late") }
    loop.run(after: 20) { trace.add("early") }
    loop.run { trace.add("now") }
    #expect(eventually { trace.all.count == 3 })
    #expect(trace.all == ["now", "early", "late"])
    loop.stop()
  }

  @Test(
    "A watched descriptor reports until its watch is cancelled, and one that takes its place is not mistaken for it")
  func watchAndCancel() throws {
    let loop = try EventLoop(name: "test-loop")
    let trace = Trace()
    let first = try EventFD.make()
    let second = try EventFD.make()
    let registration = try loop.watch(first, .readable) { _ in
      EventFD.drain(first)
      trace.add("first")
    }
    EventFD.signal(first)
    #expect(eventually { trace.all == ["first"] })
    loop.run {
      loop.cancel(registration)
      trace.add("cancelled")
    }
    #expect(eventually { trace.all.last == "cancelled" })
    EventFD.signal(first)
    _ = try loop.watch(second, .readable) { _ in
      EventFD.drain(second)
      trace.add("second")
    }
    EventFD.signal(second)
    #expect(eventually { trace.all.last == "second" })
    #expect(trace.all == ["first", "cancelled", "second"])
    loop.stop()
  }
}
