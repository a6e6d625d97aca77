internal import Virtio

/// What a request does next.
enum BlockTaskStep {
  /// Reading or writing what is left of the data.
  case transfer
  /// Discarding, or making zero, what is left of a segment.
  case segment(SegmentMethod)
  /// Bringing what has been written to stable storage.
  case sync

  /// How a segment is discarded or made zero; each falls back on the next.
  enum SegmentMethod {
    case discard
    case punchHole
    case zeroRange
    case writeZeroes
  }
}

/// One request that is being served. Used again for others.
///
/// A reference to what is allocated by ``init(tag:)`` and freed by ``free()``: all requests of a queue come by here, and
/// neither counting references nor checking for exclusive access is free.
@safe struct BlockTask<Buffers: BlockBuffers & ~Copyable> {
  private struct Fields: ~Copyable {
    let tag: Int
    let vectors = BlockVectors()
    var buffers: Buffers?
    var request = BlockRequest(.flush)
    var step = BlockTaskStep.sync
    var length = 0
    var done = 0
    var segments: [BlockSegment] = []
    var retries = 0
  }

  // From `init` to `free()`, which its one owner calls when nobody else has a reference.
  private let fields: UnsafeMutablePointer<Fields>

  init(tag: Int) {
    unsafe fields = .allocate(capacity: 1)
    unsafe fields.initialize(to: Fields(tag: tag, buffers: nil))
  }

  /// Ends it.
  func free() {
    unsafe fields.deinitialize(count: 1)
    unsafe fields.deallocate()
  }

  /// What its operations are told apart by.
  var tag: Int { unsafe fields.pointee.tag }
  /// Where its data is.
  var vectors: BlockVectors { unsafe fields.pointee.vectors }
  /// The request's memory; nil while there is no request.
  var buffers: Buffers? {
    @inline(__always) _read { yield unsafe fields.pointee.buffers }
    @inline(__always) nonmutating _modify { yield unsafe &fields.pointee.buffers }
  }
  /// What it asks for.
  var request: BlockRequest {
    @inline(__always) _read { yield unsafe fields.pointee.request }
    @inline(__always) nonmutating _modify { yield unsafe &fields.pointee.request }
  }
  /// What there is to do next.
  var step: BlockTaskStep {
    @inline(__always) _read { yield unsafe fields.pointee.step }
    @inline(__always) nonmutating _modify { yield unsafe &fields.pointee.step }
  }
  /// The data's length in bytes.
  var length: Int {
    @inline(__always) _read { yield unsafe fields.pointee.length }
    @inline(__always) nonmutating _modify { yield unsafe &fields.pointee.length }
  }
  /// How much of the data, or of the current segment, is done, in bytes.
  var done: Int {
    @inline(__always) _read { yield unsafe fields.pointee.done }
    @inline(__always) nonmutating _modify { yield unsafe &fields.pointee.done }
  }
  /// The segments that are left, the current one last.
  var segments: [BlockSegment] {
    @inline(__always) _read { yield unsafe fields.pointee.segments }
    @inline(__always) nonmutating _modify { yield unsafe &fields.pointee.segments }
  }
  /// How often the system has asked to try the current operation again.
  var retries: Int {
    @inline(__always) _read { yield unsafe fields.pointee.retries }
    @inline(__always) nonmutating _modify { yield unsafe &fields.pointee.retries }
  }

  /// What the request is, for people.
  var description: String {
    switch request.kind {
    case .read, .write: "\(request.kind) of \(length) bytes at sector \(request.sector)"
    case .discard, .writeZeroes:
      segments.last.map { "\(request.kind) of \($0.count) sectors at sector \($0.sector)" }
        ?? request.kind.description
    default: request.kind.description
    }
  }

  /// Gets ready for the next request.
  func reset() {
    vectors.clear()
    if !segments.isEmpty { segments.removeAll(keepingCapacity: true) }
    length = 0
    done = 0
    retries = 0
  }
}
