internal import CLinux
internal import Glibc
internal import Synchronization
internal import Virtio

/// What stands behind a ``Chain`` while it is with a device: where its buffers are, and how to return it. Used again for
/// others of its queue.
@safe final class ChainRequest: Sendable {
  @safe private struct Fields {
    /// Which chain of the ring it is.
    var chain: DeviceRing.Chain
    /// Keeps what the segments refer to mapped.
    var memory: GuestMemory
    /// Copied once when the chain was fetched and not changed until it is back; readable ones first. The request's own.
    var segments: UnsafeMutablePointer<iovec>
    var count: Int
    var capacity: Int
    /// Set once, before `written` is, and looked at only after that.
    var writes: ChainWrites
  }

  private let queue: ChainQueue
  // Behind a pointer, because a stored property that changes costs the run time's exclusivity check. Written by the worker
  // while nobody else has a reference, then only read, but for `writes`; freed with this object.
  nonisolated(unsafe) private let fields: UnsafeMutablePointer<Fields>
  private let written = Atomic<Int>(-1)

  init(_ chain: DeviceRing.Chain, segments list: SegmentList, memory: GuestMemory, queue: ChainQueue) {
    self.queue = queue
    unsafe fields = .allocate(capacity: 1)
    let capacity = max(list.count, 4)
    unsafe fields.initialize(
      to: Fields(
        chain: chain, memory: memory, segments: .allocate(capacity: capacity), count: 0, capacity: capacity,
        writes: ChainWrites(room: 0)))
    copy(list)
  }

  deinit {
    unsafe fields.pointee.segments.deallocate()
    unsafe fields.deinitialize(count: 1)
    unsafe fields.deallocate()
  }

  /// The most pieces of memory whose list is worth keeping.
  private static let keptCapacity = 16

  /// Whether it is better used for another chain than freed.
  func isWorthKeeping(in memory: GuestMemory) -> Bool {
    unsafe fields.pointee.capacity <= ChainRequest.keptCapacity && fields.pointee.memory === memory
  }

  /// Stands for another chain from now on. Nobody else has a reference to it.
  func renew(_ chain: DeviceRing.Chain, segments list: SegmentList, memory: GuestMemory) {
    unsafe fields.pointee.chain = chain
    if unsafe fields.pointee.memory !== memory { unsafe fields.pointee.memory = memory }
    if unsafe list.count > fields.pointee.capacity {
      unsafe fields.pointee.segments.deallocate()
      unsafe fields.pointee.segments = .allocate(capacity: list.count)
      unsafe fields.pointee.capacity = list.count
    }
    copy(list)
    written.store(-1, ordering: .relaxed)
  }

  private func copy(_ list: SegmentList) {
    // There is room for as many as the list has.
    unsafe list.copy(to: fields.pointee.segments)
    unsafe fields.pointee.count = list.count
  }

  var chain: DeviceRing.Chain { unsafe fields.pointee.chain }
  var readableBytes: Int { unsafe fields.pointee.chain.readable }
  var writableBytes: Int { unsafe fields.pointee.chain.writable }

  /// How many bytes were written; nil while the device has the chain.
  var finished: Int? {
    let written = written.load(ordering: .acquiring)
    return written < 0 ? nil : written
  }

  /// How many pieces its buffers are.
  var segmentCount: Int { unsafe fields.pointee.count }

  /// The device is done with it. Called once, on any thread.
  func finish(written count: Int, writes: ChainWrites) {
    unsafe fields.pointee.writes = writes
    queue.take(self, written: min(max(count, 0), writableBytes))
  }

  /// Takes note of it, while the queue's inbox is locked.
  func setFinished(written count: Int) { written.store(count, ordering: .releasing) }

  /// Notes what the device may have written, once it is done with the chain.
  func noteWrites(in log: RingLog) {
    let writes = unsafe fields.pointee.writes
    for bytes in [writes.head, writes.tail] {
      unsafe visit(at: bytes.lowerBound, count: bytes.count, isWritable: true) { piece, length in
        unsafe log.note(piece, length: length)
      }
    }
  }

  /// Visits the pieces of a range, which is inside of the buffers.
  @inline(__always) func visit(
    at offset: Int, count: Int, isWritable: Bool, _ body: (UnsafeMutableRawPointer, Int) -> Void
  ) {
    var skip = offset
    var rest = count
    let (segments, readable) = unsafe (fields.pointee.segments, fields.pointee.chain.readableSegments)
    let range = unsafe isWritable ? readable..<fields.pointee.count : 0..<readable
    for i in range {
      if rest == 0 { return }
      let segment = unsafe segments[i]
      guard let base = unsafe segment.iov_base, unsafe skip < segment.iov_len else {
        skip -= unsafe segment.iov_len
        continue
      }
      let length = unsafe min(segment.iov_len - skip, rest)
      unsafe body(base + skip, length)
      rest -= length
      skip = 0
    }
  }

  /// Copies from the readable part. The range is inside of it.
  func copy(from offset: Int, count: Int, to destination: UnsafeMutableRawPointer) {
    var to = unsafe destination
    unsafe visit(at: offset, count: count, isWritable: false) { piece, length in
      unsafe clinux_copy(to, piece, length)
      unsafe to += length
    }
  }

  /// Copies into the writable part. The range is inside of it.
  func copy(from source: UnsafeRawPointer, count: Int, to offset: Int) {
    var from = unsafe source
    unsafe visit(at: offset, count: count, isWritable: true) { piece, length in
      unsafe clinux_copy(piece, from, length)
      unsafe from += length
    }
  }
}
