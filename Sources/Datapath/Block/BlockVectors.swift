internal import Glibc
internal import Virtio

/// The memory of one request's data, as the vectors of system calls, at a place that stays: the kernel and other threads
/// read them while an operation is under way.
///
/// Belongs to the request, which has one operation under way at a time and changes the vectors only between two.
@safe final class BlockVectors: @unchecked Sendable {
  /// Vectors that one operation is given: what the kernel has not done of them is given to the next.
  @safe struct Part: @unchecked Sendable {
    // Valid until the vectors are changed, which waits for the operation's end.
    let start: UnsafePointer<iovec>?
    let count: Int
    /// The length in bytes.
    let length: Int

    /// No memory at all.
    static let none = unsafe Part(start: nil, count: 0, length: 0)
  }

  /// The most vectors that a system call takes (`UIO_MAXIOV`).
  static let maxCount = 1024
  /// The capacity that is kept when the vectors are let go of.
  private static let keptCapacity = 256

  @safe private struct Own {
    // Allocated and freed by the object alone.
    var vectors: UnsafeMutablePointer<iovec>
    var capacity: Int
    var first = 0
    var end = 0
  }

  private let own = Unshared(unsafe Own(vectors: .allocate(capacity: 4), capacity: 4))
  private var vectors: UnsafeMutablePointer<iovec> {
    get { unsafe own.value.vectors }
    set { unsafe own.value.vectors = newValue }
  }
  private var capacity: Int {
    get { own.value.capacity }
    set { own.value.capacity = newValue }
  }
  private var first: Int {
    get { own.value.first }
    set { own.value.first = newValue }
  }
  private var end: Int {
    get { own.value.end }
    set { own.value.end = newValue }
  }

  deinit {
    unsafe vectors.deallocate()
  }

  /// Lets go of what it had, to take over other pieces.
  func begin() {
    first = 0
    end = 0
  }

  /// Takes over a piece of memory, which has to stay until nothing is under way. An empty one is left out: an operation that
  /// does nothing looks like the end of the file.
  @inline(__always) func append(_ start: UnsafeMutableRawPointer, length: Int) {
    if length == 0 { return }
    if end == capacity { grow(to: end + 1) }
    unsafe vectors[end] = iovec(iov_base: start, iov_len: length)
    end += 1
  }

  /// Takes zeroes of that many bytes.
  func setZeroes(_ count: Int) {
    first = 0
    end = (count + ZeroBytes.count - 1) / ZeroBytes.count
    if end > capacity {
      let needed = end
      end = 0
      grow(to: needed)
      end = needed
    }
    for i in 0..<end {
      unsafe vectors[i] = iovec(
        iov_base: ZeroBytes.start, iov_len: min(ZeroBytes.count, count - i * ZeroBytes.count))
    }
  }

  /// Lets go of the memory.
  func clear() {
    (first, end) = (0, 0)
    guard capacity > BlockVectors.keptCapacity else { return }
    unsafe vectors.deallocate()
    capacity = BlockVectors.keptCapacity
    unsafe vectors = .allocate(capacity: capacity)
  }

  /// Makes room for more, and keeps what is there.
  private func grow(to needed: Int) {
    let grown = max(needed, 2 * capacity)
    let larger = UnsafeMutablePointer<iovec>.allocate(capacity: grown)
    // Both have room for the first `end`.
    unsafe larger.initialize(from: vectors, count: end)
    unsafe vectors.deallocate()
    unsafe vectors = larger
    capacity = grown
  }

  /// What one operation can be given of what is left.
  var next: Part {
    let count = min(end - first, BlockVectors.maxCount)
    var length = 0
    // Their sum is no more than a request's length, which fits.
    for i in first..<first + count { unsafe length += vectors[i].iov_len }
    return unsafe Part(start: vectors + first, count: count, length: length)
  }

  /// Has the guard of guest memory look at what is left, of which a system call has said that it is not there.
  func touch() {
    for i in first..<end {
      // One page is enough, and a guest may name the same gigabytes a thousand times.
      let vector = unsafe vectors[i]
      if let start = unsafe vector.iov_base, unsafe BusErrorGuard.touch(start, length: vector.iov_len) { return }
    }
  }

  /// Goes on behind the first `bytes` of what is left, which has at least as many.
  func advance(by bytes: Int) {
    var rest = bytes
    while first < end {
      let length = unsafe vectors[first].iov_len
      guard rest < length else {
        rest -= length
        first += 1
        continue
      }
      unsafe vectors[first].iov_base += rest
      unsafe vectors[first].iov_len -= rest
      return
    }
  }
}

/// Zeroes to write where a file cannot make them itself.
@safe private enum ZeroBytes {
  static let count = 65536
  // Written once, here, and only read from then on; never freed.
  nonisolated(unsafe) static let start: UnsafeMutableRawPointer = {
    let bytes = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 4096)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0, count: count)
    return unsafe bytes
  }()
}
