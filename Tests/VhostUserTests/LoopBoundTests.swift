import Testing
import VDPA

@Suite(.timeLimit(.minutes(2)))
struct LoopBoundTests {
  @Test func isReachedOnTheLoop() async throws {
    let loop = try EventLoop(name: "test")
    let bound = LoopBound([1], on: loop)
    await loop.perform { bound.value.append(2) }
    #expect(await loop.perform { bound.value } == [1, 2])
    loop.stop()
  }

  @Test func isOutOfReachElsewhere() async {
    await #expect(processExitsWith: .failure) {
      let loop = try EventLoop(name: "test")
      let bound = LoopBound(1, on: loop)
      bound.value += 1
    }
  }
}
