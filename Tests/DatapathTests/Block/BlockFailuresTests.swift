import Synchronization
import Testing

@testable import Datapath

@Suite struct BlockFailuresTests {
  private final class Lines: Sendable {
    private let lines: Mutex<[String]> = Mutex([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  @Test("A line a second of each cause, with the number of those left out; what is left out is not even put in words")
  func limited() {
    let failures = BlockFailures()
    let lines = Lines()
    for vring in 0..<3 { failures.setSink({ lines.add("\(vring) \($0)") }, vring: vring) }
    let second: UInt64 = 1_000_000_000
    var words = 0
    func add(_ cause: BlockFailures.Cause, at now: UInt64, _ reason: String) {
      failures.add(
        cause, vring: 2, now: now,
        {
          words += 1
          return reason
        }())
    }
    add(.guest, at: 5, "a")
    for i in 0..<1000 { add(.guest, at: 6 + UInt64(i), "b") }
    add(.medium, at: 7, "c")
    add(.guest, at: 4 + second, "d")
    add(.guest, at: 5 + second, "e")
    add(.guest, at: 6 + 2 * second, "f")
    #expect(lines.all == ["2 a", "2 c", "2 e (and 1001 more requests since the last such line)", "2 f"])
    #expect(words == 4)
  }

  @Test("Without anybody to tell nothing is told, and nothing is counted as told")
  func nobody() {
    let failures = BlockFailures()
    failures.add(.medium, vring: 0, now: 1, "lost")
    let lines = Lines()
    for vring in 0..<3 { failures.setSink({ lines.add("\(vring) \($0)") }, vring: vring) }
    failures.add(.medium, vring: 0, now: 2, "told")
    failures.setSink(nil, vring: 0)
    failures.add(.medium, vring: 0, now: 1 << 60, "lost")
    #expect(lines.all == ["0 told"])
  }
}
