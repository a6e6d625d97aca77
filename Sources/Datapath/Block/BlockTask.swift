internal import Virtio

/// One request that is being served. Used again for others.
final class BlockTask<Buffers: BlockBuffers & ~Copyable> {
  /// What there is to do next.
  enum Step {
    /// Reading or writing what is left of the data.
    case transfer
    /// Discarding, or making zero, what is left of a segment.
    case segment(SegmentMethod)
    /// Bringing what has been written to stable storage.
    case sync
  }

  /// How a segment is discarded or made zero; each falls back on the next.
  enum SegmentMethod {
    case discard
    case punchHole
    case zeroRange
    case writeZeroes
  }

  /// What its operations are told apart by.
  let tag: Int
  /// The request's memory; nil while there is no request.
  var buffers: Buffers?
  var request = BlockRequest(.flush)
  var step = Step.sync
  let vectors = BlockVectors()
  /// The data's length in bytes.
  var length = 0
  /// How much of the data, or of the current segment, is done, in bytes.
  var done = 0
  /// The segments that are left, the current one last.
  var segments: [BlockSegment] = []
  /// How often the system has asked to try the current operation again.
  var retries = 0

  init(tag: Int) { self.tag = tag }

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
    segments.removeAll(keepingCapacity: true)
    (length, done, retries) = (0, 0, 0)
  }
}
