/// Where a ring notes what it has written to guest memory: a dirty log, and the way from a place in this process to the
/// guest's address of it (vhost-user, Migration).
@safe package final class RingLog: Sendable {
  private let log: DirtyLog
  private let ranges: [GuestMemory.HostRange]
  private let used: UInt64?

  /// - Parameters:
  ///   - memory: All that the ring and its buffers may be in. What is noted is in it.
  ///   - used: The guest physical address by which the device area (split: the used ring) is noted; nil when it is not.
  package init(_ log: DirtyLog, memory: GuestMemory, used: UInt64?) {
    self.log = log
    ranges = memory.hostRanges
    self.used = used
  }

  /// Notes that bytes were written.
  @unsafe package func note(_ host: UnsafeMutableRawPointer, length: Int) {
    var start = UInt(bitPattern: host)
    var rest = UInt(max(length, 0))
    while rest > 0, let range = range(around: start) {
      let count = min(rest, range.end - start)
      log.mark(range.guestAddress + UInt64(start - range.start), length: UInt64(count))
      start += count
      rest -= count
    }
  }

  private func range(around address: UInt) -> GuestMemory.HostRange? {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if address >= ranges[middle].end { low = middle + 1 } else { high = middle }
    }
    return low < ranges.count && address >= ranges[low].start ? ranges[low] : nil
  }

  /// Notes that pieces of memory were written.
  func note(_ segments: SegmentList) {
    for i in 0..<segments.count {
      let segment = segments[i]
      unsafe note(segment.host, length: segment.length)
    }
  }

  /// Notes that bytes of the device area were written, counted from its start.
  func noteUsed(_ bytes: Range<Int>) {
    if let used { log.mark(used &+ UInt64(bytes.lowerBound), length: UInt64(bytes.count)) }
  }

  /// Tells the front-end; once a burst.
  package func signal() { log.signal() }
}
