internal import CLinux
internal import VDPA

extension BlockOperation {
  /// Does the operation by a system call that may block.
  ///
  /// - Returns: The bytes that were read or written, 0 for other operations, or `-errno`.
  func perform(on file: OwnedFD) -> Int {
    let fd = file.rawValue
    switch kind {
    case .read:
      // The vectors and what they point to stay until the operation has completed, whose owner waits for it.
      return unsafe clinux_readv(fd, memory.start, CInt(memory.count), offset)
    case .write, .durableWrite:
      return unsafe clinux_writev(fd, memory.start, CInt(memory.count), offset, kind == .durableWrite)
    case .sync: return Int(clinux_sync(fd))
    case .punchHole: return Int(clinux_allocate(fd, CLINUX_PUNCH_HOLE, offset, length))
    case .zeroRange: return Int(clinux_allocate(fd, CLINUX_ZERO_RANGE, offset, length))
    case .discard: return Int(clinux_discard(fd, offset, length))
    }
  }
}
