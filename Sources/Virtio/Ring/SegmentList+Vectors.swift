package import Glibc

extension SegmentList {
  /// Writes all pieces into memory that has room for them.
  @unsafe package func copy(to vectors: UnsafeMutablePointer<iovec>) {
    for i in 0..<count {
      let segment = self[i]
      unsafe vectors[i] = iovec(iov_base: segment.host, iov_len: segment.length)
    }
  }
}
