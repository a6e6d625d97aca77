import Testing
import VhostUser

struct BackoffTests {
  @Test("The first try is made at once, the next ones after twice as long each time, up to the bound")
  func doubles() {
    for _ in 0..<100 {
      var backoff = Backoff()
      #expect(backoff.next() == 0)
      var limit = Backoff.first
      for _ in 0..<20 {
        #expect((limit / 2...limit).contains(backoff.next()))
        limit = min(2 * limit, Backoff.longest)
      }
      #expect(limit == Backoff.longest)
    }
  }

  @Test("After a success it begins anew")
  func resets() {
    var backoff = Backoff()
    for _ in 0..<20 { _ = backoff.next() }
    backoff.reset()
    #expect(backoff.next() == 0)
    #expect((Backoff.first / 2...Backoff.first).contains(backoff.next()))
  }

  @Test("Many who begin at the same time do not stay together")
  func spreads() {
    var waits: Set<Int> = []
    for _ in 0..<100 {
      var backoff = Backoff()
      for _ in 0..<20 { _ = backoff.next() }
      waits.insert(backoff.next())
    }
    #expect(waits.count > 50)
  }
}
