@testable import Virtio

extension SegmentList {
  /// What the pieces hold, from one on to before another.
  func bytes(_ range: Range<Int>) -> [UInt8] {
    range.flatMap { i in unsafe Array(UnsafeRawBufferPointer(start: self[i].host, count: self[i].length)) }
  }

  /// Fills the pieces from one on.
  ///
  /// - Returns: How many bytes these were.
  func write(_ bytes: [UInt8], from first: Int) -> Int {
    var written = 0
    for i in first..<count {
      let length = min(self[i].length, bytes.count - written)
      let target = unsafe UnsafeMutableRawBufferPointer(start: self[i].host, count: length)
      unsafe target.copyBytes(from: bytes[written..<written + length])
      written += length
    }
    return written
  }
}
