/// Pieces of guest memory, each contiguous in this process: where one chain or packet lies.
///
/// A list belongs to one thread, and what it refers to is only there as long as the memory map that it was made with.
@safe package final class SegmentList {
  /// A piece of guest memory.
  @safe package struct Segment {
    @unsafe package let host: UnsafeMutableRawPointer
    /// In bytes, at least 1.
    package let length: Int
  }

  /// The most pieces in a list: the longest chain that a ring can have, and as many more borders of memory regions.
  package static let capacity = 2 * RingLayout.maxSize

  private let segments: UnsafeMutablePointer<Segment>
  // Behind a pointer, for a stored property of a class that changes costs the run time's exclusivity check.
  private let filled: UnsafeMutablePointer<Int>

  package private(set) var count: Int {
    @inline(__always) get { unsafe filled.pointee }
    @inline(__always) set { unsafe filled.pointee = newValue }
  }

  /// An empty list; 1 MiB, of which the system backs what is used.
  package init() {
    unsafe segments = .allocate(capacity: SegmentList.capacity)
    unsafe filled = .allocate(capacity: 1)
    unsafe filled.initialize(to: 0)
  }

  deinit {
    unsafe segments.deallocate()
    unsafe filled.deallocate()
  }

  /// Forgets all pieces behind the first `count`.
  @inline(__always) package func truncate(to count: Int) {
    precondition(count >= 0 && count <= self.count)
    self.count = count
  }

  @inline(__always) package subscript(index: Int) -> Segment {
    precondition(index >= 0 && index < count)
    return unsafe segments[index]
  }

  /// Adds the pieces of a buffer.
  ///
  /// - Returns: What is wrong with it.
  @inline(__always) func append(
    _ address: UInt64, length: Int, for access: AddressMap.Access, memory: inout MemoryView
  ) -> RingFault {
    var address = address
    var rest = length
    var count = count
    while rest > 0 {
      guard let piece = unsafe memory.segment(at: address, length: UInt64(rest), for: access) else { return .unmapped }
      guard count < SegmentList.capacity else { return .tooManySegments }
      unsafe segments[count] = Segment(host: piece.host, length: piece.length)
      count &+= 1
      rest &-= unsafe piece.length
      address &+= unsafe UInt64(piece.length)
    }
    self.count = count
    return .none
  }
}
