internal import Glibc

@testable internal import Datapath

/// A chain that the device under test has not let go of yet.
final class KeptChain {
  /// nil when it has been let go of.
  private var chain: Chain?
  /// What its ring said was writable when it was fetched; nil when that does not tell.
  let buffers: WritableBuffers?

  init(_ chain: consuming Chain, _ buffers: WritableBuffers?) {
    self.chain = consume chain
    self.buffers = buffers
  }

  /// The most bytes that are moved in one step.
  private static let most = 1 << 17

  /// A count that is either not there, or not too much work.
  private func limit(_ count: Int, of total: Int) -> Int { count <= total ? min(count, KeptChain.most) : count }

  /// Reads; there have to be bytes exactly where the chain has some.
  func read(at offset: Int, count wanted: Int) {
    let total = chain?.readableBytes ?? 0
    let count = limit(wanted, of: total)
    let isRead = chain?.read(at: offset, count: count)?.count == count
    let isInside = offset >= 0 && offset + count <= total
    Oracle.require(isRead == isInside, "\(count) bytes at \(offset) of \(total): \(isRead)")
  }

  /// Writes; there has to be room exactly where the chain has some.
  func write(at offset: Int, count wanted: Int) {
    let total = chain?.writableBytes ?? 0
    let count = min(wanted, KeptChain.most)
    let isWritten = chain?.write([UInt8](repeating: 0xa5, count: count), at: offset) ?? false
    let isInside = offset >= 0 && offset + count <= total
    Oracle.require(isWritten == isInside, "\(count) bytes to \(offset) of \(total): \(isWritten)")
  }

  /// Asks for pieces and touches all of their bytes, as a system call does.
  func touchPieces(at offset: Int, count wanted: Int, isWritable: Bool) {
    let total = (isWritable ? chain?.writableBytes : chain?.readableBytes) ?? 0
    let count = limit(wanted, of: total)
    var pieces: [iovec] = unsafe []
    let isThere =
      isWritable
      ? unsafe chain?.writablePieces(at: offset, count: count, into: &pieces)
      : unsafe chain?.readablePieces(at: offset, count: count, into: &pieces)
    let isInside = offset >= 0 && offset + count <= total
    Oracle.require(isThere == isInside, "pieces of \(count) bytes at \(offset) of \(total): \(isThere == true)")
    var sum = 0
    for i in unsafe pieces.indices {
      let length = unsafe pieces[i].iov_len
      sum += length
      guard length > 0, let base = unsafe pieces[i].iov_base else { continue }
      // The address sanitizer looks at all of a copy.
      let bytes = unsafe [UInt8](UnsafeRawBufferPointer(start: base, count: length))
      if isWritable { unsafe base.copyMemory(from: bytes, byteCount: bytes.count) }
    }
    Oracle.require(sum == (isInside ? count : 0), "pieces of \(count) bytes have \(sum)")
  }

  /// Lets go of it.
  func finish(written: Int) {
    chain?.writtenBytes = written
    chain = nil
  }
}
