import CLinux
import Glibc
import Testing

@testable import Datapath

@Suite struct BlockVectorsTests {
  /// The bytes that vectors stand for, by address.
  private func addresses(_ part: BlockVectors.Part) -> [Int] {
    (0..<part.count).flatMap { i -> [Int] in
      guard let vector = unsafe part.start?[i] else { return [] }
      let start = unsafe Int(bitPattern: vector.iov_base)
      return unsafe Array(start..<start + vector.iov_len)
    }
  }

  private func pieces(_ lengths: [Int]) -> [iovec] {
    unsafe lengths.enumerated().map { i, length in
      unsafe iovec(iov_base: UnsafeMutableRawPointer(bitPattern: (i + 1) << 20), iov_len: length)
    }
  }

  @Test("Whatever is done of them, the rest is what is left, for every cut of up to nine bytes into four pieces")
  func advancing() {
    let vectors = BlockVectors()
    for a in 0...3 {
      for b in 0...3 {
        for c in 0...2 {
          for d in 0...1 {
            let all = unsafe pieces([a, b, c, d])
            let total = a + b + c + d
            unsafe vectors.set(all)
            let whole = addresses(vectors.next)
            #expect(whole.count == total && vectors.next.length == total)
            // An operation on nothing would look like the end of the file.
            #expect(vectors.next.count == [a, b, c, d].filter { $0 > 0 }.count)
            for first in 0...total {
              for second in 0...total - first {
                unsafe vectors.set(all)
                vectors.advance(by: first)
                vectors.advance(by: second)
                #expect(addresses(vectors.next) == Array(whole.dropFirst(first + second)))
                #expect(vectors.next.length == total - first - second)
              }
            }
          }
        }
      }
    }
  }

  @Test("An operation gets no more vectors than a system call takes; the next one gets the rest")
  func most() {
    let vectors = BlockVectors()
    let count = 2 * BlockVectors.maxCount + 5
    unsafe vectors.set(pieces(Array(repeating: 2, count: count)))
    var seen = 0
    for expected in [1024, 1024, 5] {
      #expect(vectors.next.count == expected && vectors.next.length == 2 * expected)
      seen += vectors.next.count
      vectors.advance(by: vectors.next.length)
    }
    #expect(seen == count && vectors.next.count == 0 && vectors.next.length == 0)
    vectors.clear()
    #expect(vectors.next.count == 0)
  }

  @Test("Zeroes have any length and are zeroes", arguments: [0, 1, 511, 65535, 65536, 65537, 1 << 20])
  func zeroes(count: Int) {
    let vectors = BlockVectors()
    vectors.setZeroes(count)
    let part = vectors.next
    #expect(part.length == count)
    for i in 0..<part.count {
      let bytes = unsafe part.start.map {
        unsafe UnsafeRawBufferPointer(start: $0[i].iov_base, count: $0[i].iov_len)
      }
      #expect(unsafe bytes?.allSatisfy { $0 == 0 } == true)
    }
  }
}
