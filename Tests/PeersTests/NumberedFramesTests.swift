import Testing

@testable import Peers

struct NumberedFramesTests {
  @Test("Frames have both limits of the size, carry their number, and the seed decides them")
  func contents() {
    let frames = Array(NumberedFrames(count: 500, queue: 1, seed: 9))
    #expect(frames.count == 500)
    #expect(frames.map(NumberedFrames.number) == (0..<500).map { $0 })
    #expect(frames[0].count == 60)
    #expect(frames[1].count == 1514)
    #expect(frames.allSatisfy { NumberedFrames.sizes.contains($0.count) })
    #expect(Set(frames.map(\.count)).count > 100)
    #expect(frames == Array(NumberedFrames(count: 500, queue: 1, seed: 9)))
    #expect(frames != Array(NumberedFrames(count: 500, queue: 1, seed: 10)))
    #expect(Set(frames).isDisjoint(with: NumberedFrames(count: 500, queue: 0, seed: 9)))
  }

  @Test("Long ones are one in eight, up to the length that was asked for")
  func long() {
    let frames = Array(NumberedFrames(count: 800, longest: 9000))
    #expect(frames.map(NumberedFrames.number) == (0..<800).map { $0 })
    #expect(frames[1].count == 9000)
    #expect(frames.count { $0.count > 1514 } == 101)
    #expect(frames.allSatisfy { $0.count <= 9000 })
    #expect(Set(frames).count == 800)
    #expect(NumberedFrames(count: 100, longest: 1000).allSatisfy { $0.count <= 1000 })
  }

  @Test("Other frames have no number")
  func others() {
    #expect(NumberedFrames.number(of: []) == nil)
    #expect(NumberedFrames.number(of: [UInt8](repeating: 0, count: 60)) == nil)
  }
}
