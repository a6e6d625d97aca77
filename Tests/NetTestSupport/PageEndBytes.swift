import Glibc

/// Bytes that end where the next page cannot be touched, so that a read or a write behind them ends the process.
@safe package final class PageEndBytes {
  private static let page = 4096
  private let base: UnsafeMutableRawPointer
  private let capacity: Int

  /// Room for that many bytes.
  package init(capacity: Int) {
    self.capacity = (capacity + PageEndBytes.page - 1) / PageEndBytes.page * PageEndBytes.page
    let length = self.capacity + 2 * PageEndBytes.page
    guard let base = unsafe mmap(nil, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), unsafe base != MAP_FAILED
    else { preconditionFailure("mmap: \(errno)") }
    unsafe self.base = base
    // The page in front of them cannot be touched either: a whole number of pages is used up to its first byte.
    guard unsafe mprotect(base + PageEndBytes.page, self.capacity, PROT_READ | PROT_WRITE) == 0 else {
      preconditionFailure("mprotect: \(errno)")
    }
  }

  deinit {
    unsafe munmap(base, capacity + 2 * PageEndBytes.page)
  }

  /// Lends a copy of the bytes out, and returns what has become of it.
  package func with(_ bytes: [UInt8], _ body: (inout MutableSpan<UInt8>) -> Void) -> [UInt8] {
    precondition(bytes.count <= capacity)
    let start = unsafe base + PageEndBytes.page + capacity - bytes.count
    let lent = unsafe UnsafeMutableBufferPointer(start: start.assumingMemoryBound(to: UInt8.self), count: bytes.count)
    _ = unsafe lent.update(fromContentsOf: bytes)
    var span = unsafe lent.mutableSpan
    body(&span)
    return unsafe Array(lent)
  }
}
