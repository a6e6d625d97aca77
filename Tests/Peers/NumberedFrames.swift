/// Ethernet frames that can be told apart: numbered, of mixed sizes, with content that a seed decides.
package struct NumberedFrames: Sequence, IteratorProtocol {
  /// The sizes of Ethernet frames without their check sequence, in bytes.
  package static let sizes = 60...1514

  private var generator: SplitMix64
  private let queue: UInt16
  private let count: Int
  private let sizes: ClosedRange<Int>
  private let jumbos: ClosedRange<Int>?
  private var number = 0
  /// Bytes without a pattern; each frame has its content from another place in it.
  private let noise: [UInt8]

  /// - Parameters:
  ///   - count: how many.
  ///   - queue: a number that all of them carry.
  ///   - seed: of the sizes and the content.
  ///   - longest: the length of the longest ones in bytes. Of those beyond the ordinary sizes there is one in eight.
  package init(count: Int, queue: Int = 0, seed: UInt64 = 1, longest: Int = NumberedFrames.sizes.upperBound) {
    self.count = count
    self.queue = UInt16(truncatingIfNeeded: queue)
    let ordinary = NumberedFrames.sizes.upperBound
    sizes = NumberedFrames.sizes.lowerBound...Swift.min(longest, ordinary)
    jumbos = longest > ordinary ? ordinary + 1...longest : nil
    var generator = SplitMix64(seed: seed &+ UInt64(queue) &* 0x9e37_79b9)
    noise = (0..<(longest + NumberedFrames.places) / 8 + 1).flatMap { _ in
      let word = generator.next()
      return stride(from: 0, to: 64, by: 8).map { UInt8(truncatingIfNeeded: word >> $0) }
    }
    self.generator = generator
  }

  /// How many places there are for a frame's content.
  private static let places = 1 << 15

  package mutating func next() -> [UInt8]? {
    guard number < count else { return nil }
    // Both limits first, whatever the seed.
    let size =
      switch number {
      case 0: sizes.lowerBound
      case 1: (jumbos ?? sizes).upperBound
      default: Int.random(in: number % 8 == 7 ? jumbos ?? sizes : sizes, using: &generator)
      }
    var frame: [UInt8] = []
    frame.reserveCapacity(size)
    // Locally administered addresses, and the EtherType for local experiments (IEEE 802, 0x88B5).
    frame += [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5]
    frame += [UInt8(queue >> 8), UInt8(queue & 0xff)]
    frame += stride(from: 24, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> $0) }
    let place = Int.random(in: 0..<NumberedFrames.places, using: &generator)
    frame += noise[place..<place + size - frame.count]
    number += 1
    return frame
  }

  /// The number a frame carries, or nil when it is none of these.
  package static func number(of frame: [UInt8]) -> Int? {
    guard frame.count >= sizes.lowerBound, frame[12] == 0x88, frame[13] == 0xb5 else { return nil }
    return frame[16..<20].reduce(0) { $0 << 8 | Int($1) }
  }
}
