internal import CLinux
internal import Virtio

/// A chain that a device has fetched and not returned, and where its buffers are. It is valid as long as the memory that it
/// was fetched from: before that changes, all of them are returned.
struct HeldChain {
  let chain: DeviceRing.Chain
  /// Readable ones first.
  private let segments: [SegmentList.Segment]

  init(_ chain: DeviceRing.Chain, _ list: SegmentList) {
    self.chain = chain
    segments = (0..<list.count).map { list[$0] }
  }

  /// How many bytes the device may read.
  var readable: Int { chain.readable }
  /// How many bytes the device may write.
  var writable: Int { chain.writable }

  /// How many pieces of memory its buffers are.
  var pieceCount: Int { segments.count }

  /// Visits the pieces of a range of the bytes that the device may read, or of those that it may write; of what is behind
  /// them nothing. It ends early when `body` says so.
  ///
  /// - Returns: Whether all of the range was visited.
  func visit(_ range: Range<Int>, isWritable: Bool, _ body: (UnsafeMutableRawPointer, Int) -> Bool) -> Bool {
    var (skip, rest) = (range.lowerBound, range.count)
    let pieces = isWritable ? segments[chain.readableSegments...] : segments[..<chain.readableSegments]
    for piece in pieces {
      if rest == 0 { return true }
      guard skip < piece.length else {
        skip -= piece.length
        continue
      }
      let length = min(piece.length - skip, rest)
      guard unsafe body(piece.host + skip, length) else { return false }
      rest -= length
      skip = 0
    }
    return rest == 0
  }

  /// Copies bytes that the device may read; nil when there are not that many.
  func read(_ range: Range<Int>) -> [UInt8]? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.count)
    let isThere = unsafe visit(range, isWritable: false) { piece, length in
      unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(start: piece, count: length))
      return true
    }
    return isThere ? bytes : nil
  }

  /// Writes bytes where the device may write.
  ///
  /// - Returns: Whether there was room for all of them.
  @discardableResult
  func write(_ bytes: Span<UInt8>, at offset: Int, log: RingLog?) -> Bool {
    unsafe bytes.withUnsafeBytes { from in
      guard var source = from.baseAddress else { return true }
      return unsafe visit(offset..<offset + from.count, isWritable: true) { piece, length in
        unsafe clinux_copy(piece, source, length)
        unsafe log?.note(piece, length: length)
        unsafe source += length
        return true
      }
    }
  }
}
