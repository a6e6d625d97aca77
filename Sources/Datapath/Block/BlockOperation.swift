/// One operation on the file of a block device.
struct BlockOperation: Sendable {
  enum Kind: Sendable {
    case read
    case write
    /// A write that is on stable storage when it completes.
    case durableWrite
    /// Brings all writes that have completed to stable storage.
    case sync
    /// Frees the space of a range, which reads as zeroes from then on.
    case punchHole
    /// Makes a range zero and keeps its space.
    case zeroRange
    /// Tells a block device that a range is not needed any more.
    case discard

    /// Whether it mostly is done by the memory of the system, and not by a disk.
    var isQuick: Bool {
      switch self {
      case .read, .write: true
      case .durableWrite, .sync, .punchHole, .zeroRange, .discard: false
      }
    }
  }

  var kind: Kind
  /// What a read fills and a write takes.
  var memory = BlockVectors.Part.none
  /// Where it begins, in bytes.
  var offset: UInt64 = 0
  /// The length in bytes of a range that is freed, zeroed or discarded.
  var length: UInt64 = 0
  /// Whether the system has asked for it to be tried again: whoever does it should rather wait now.
  var isRetry = false
  /// What its completion is told apart by.
  var tag: UInt64 = 0
}

/// How an operation has ended: the bytes that it has done, or `-errno`.
struct BlockCompletion: Sendable, Equatable {
  var tag: UInt64
  var result: Int
}
