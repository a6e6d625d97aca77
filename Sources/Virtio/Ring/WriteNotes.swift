/// Where a burst notes which memory it has written: compiled into it, so that one which notes nothing does nothing for it.
protocol WriteNotes {
  /// Notes that pieces of memory were written.
  func note(_ segments: SegmentList)
}

/// Notes nothing.
struct NoNotes: WriteNotes {
  @inline(__always) func note(_ segments: SegmentList) {}
}

extension RingLog: WriteNotes {}
