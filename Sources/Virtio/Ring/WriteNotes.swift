/// Where a burst notes which memory it has written: compiled into it, so that one which notes nothing does nothing for it.
protocol WriteNotes {
  /// Notes that pieces of memory were written.
  func note(_ segments: SegmentList)
  /// Notes that a piece of memory was written.
  @unsafe func note(_ host: UnsafeMutableRawPointer, length: Int)
}

/// Notes nothing.
struct NoNotes: WriteNotes {
  @inline(__always) func note(_ segments: SegmentList) {}
  @unsafe @inline(__always) func note(_ host: UnsafeMutableRawPointer, length: Int) {}
}

extension RingLog: WriteNotes {}
