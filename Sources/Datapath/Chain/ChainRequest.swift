internal import CLinux
internal import Glibc
internal import Synchronization
internal import Virtio

/// What stands behind a ``Chain`` while it is with a device: where its buffers are, and how to return it.
@safe final class ChainRequest: Sendable {
  /// Which chain of the ring it is.
  let chain: DeviceRing.Chain
  private let queue: ChainQueue
  /// Keeps what the segments refer to mapped.
  private let memory: GuestMemory
  /// Copied once when the chain was fetched, never changed, and freed with this object; readable ones first.
  nonisolated(unsafe) private let segments: UnsafeMutableBufferPointer<iovec>
  private let written = Atomic<Int>(-1)
  // Set once, before `written` is, and looked at only after that.
  nonisolated(unsafe) private var writes: ChainWrites

  init(_ chain: DeviceRing.Chain, segments list: SegmentList, memory: GuestMemory, queue: ChainQueue) {
    self.chain = chain
    self.memory = memory
    self.queue = queue
    unsafe writes = ChainWrites(room: chain.writable)
    unsafe segments = .allocate(capacity: list.count)
    for i in 0..<list.count {
      let segment = list[i]
      unsafe segments.initializeElement(at: i, to: iovec(iov_base: segment.host, iov_len: segment.length))
    }
  }

  deinit {
    unsafe segments.deallocate()
  }

  var readableBytes: Int { chain.readable }
  var writableBytes: Int { chain.writable }

  /// How many bytes were written; nil while the device has the chain.
  var finished: Int? {
    let written = written.load(ordering: .acquiring)
    return written < 0 ? nil : written
  }

  /// How many pieces its buffers are.
  var segmentCount: Int { unsafe segments.count }

  /// The device is done with it. Called once, on any thread.
  func finish(written count: Int, writes: ChainWrites) {
    unsafe self.writes = writes
    queue.take(self, written: min(max(count, 0), writableBytes))
  }

  /// Takes note of it, while the queue's inbox is locked.
  func setFinished(written count: Int) { written.store(count, ordering: .releasing) }

  /// Notes what the device may have written, once it is done with the chain.
  func noteWrites(in log: RingLog) {
    for bytes in unsafe [writes.head, writes.tail] {
      unsafe visit(at: bytes.lowerBound, count: bytes.count, isWritable: true) { piece, length in
        unsafe log.note(piece, length: length)
      }
    }
  }

  /// Visits the pieces of a range, which is inside of the buffers.
  private func visit(
    at offset: Int, count: Int, isWritable: Bool, _ body: (UnsafeMutableRawPointer, Int) -> Void
  ) {
    var skip = offset
    var rest = count
    let range = unsafe isWritable ? chain.readableSegments..<segments.count : 0..<chain.readableSegments
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

  /// Adds the pieces of a range, which is inside of the buffers.
  func pieces(at offset: Int, count: Int, isWritable: Bool, into pieces: inout [iovec]) {
    unsafe visit(at: offset, count: count, isWritable: isWritable) { piece, length in
      unsafe pieces.append(iovec(iov_base: piece, iov_len: length))
    }
  }
}
