internal import Glibc
internal import VDPA

@testable internal import Datapath

/// A disk in memory, whose operations end when an input says, in what order, and with what result.
@safe final class SteppedIO: BlockIO, @unchecked Sendable {
  let depth = 4
  var underWay: Int { pending.count }
  let wakeup: OwnedFD
  let isReadOnly: Bool

  // Everything here is done by libFuzzer's thread. The disk is an allocation of its own, so that the address sanitizer sees
  // its end.
  private let disk: UnsafeMutableRawPointer
  private let bytes: Int
  private var pending: [BlockOperation] = []
  /// How many operations end at the next look, whether the last one is first, and with which result.
  private var ending = (count: 0, isLastFirst: false, result: UInt8(0))
  private var refuses = false

  init(bytes: Int, isReadOnly: Bool) throws {
    wakeup = try EventFD.make()
    self.isReadOnly = isReadOnly
    self.bytes = bytes
    unsafe disk = .allocate(byteCount: bytes, alignment: 16)
    unsafe memset(disk, 0x77, bytes)
  }

  deinit { unsafe disk.deallocate() }

  /// Another input begins.
  func begin() {
    Oracle.require(pending.isEmpty, "operations are left over")
    ending = (0, false, 0)
    refuses = false
  }

  /// What happens at the next look.
  func step(_ r: Record) {
    ending = (Int(r.a & 15), r.a & 16 != 0, r.c)
    refuses = r.a & 32 != 0
  }

  /// All that there is ends well from now on.
  func finish() {
    ending = (.max, false, 0)
    refuses = false
  }

  // MARK: What the queue does

  func prepare(_ operation: BlockOperation) {
    Oracle.require(pending.count < depth, "more operations than there is room for")
    pending.append(operation)
  }

  func submit() -> Bool { !refuses }

  /// An input says when anybody looks.
  func wantWakeups(_ wanted: Bool) {}

  func reap(_ body: (BlockCompletion) -> Void) -> Int {
    var count = 0
    // Those that are prepared meanwhile wait for the next look.
    var rest = min(ending.count, pending.count)
    while rest > 0 {
      let operation = ending.isLastFirst ? pending.removeLast() : pending.removeFirst()
      body(BlockCompletion(tag: operation.tag, result: end(operation)))
      rest -= 1
      count += 1
    }
    return count
  }

  func drain() { pending = [] }

  private static let errors: [CInt] = [EINTR, EAGAIN, EIO, ENOSPC, EOPNOTSUPP, EINVAL, ENODEV]

  /// Does an operation, or half of it, or nothing.
  private func end(_ operation: BlockOperation) -> Int {
    let code = Int(ending.result & 15)
    if code > 2, code - 3 < SteppedIO.errors.count { return -Int(SteppedIO.errors[code - 3]) }
    switch operation.kind {
    case .sync: return 0
    case .punchHole, .zeroRange, .discard:
      Oracle.require(!isReadOnly, "\(operation.kind) on a disk that is read-only")
      let length = checked(operation, Int(operation.length))
      unsafe memset(disk + Int(operation.offset), 0, length)
      return 0
    case .read: return copy(operation, limit: code == 1 ? operation.memory.length / 2 : code == 2 ? 0 : .max)
    case .write, .durableWrite:
      Oracle.require(!isReadOnly, "\(operation.kind) on a disk that is read-only")
      return copy(operation, limit: code == 1 ? operation.memory.length / 2 : code == 2 ? 0 : .max)
    }
  }

  private func checked(_ operation: BlockOperation, _ length: Int) -> Int {
    let isInside = operation.offset <= UInt64(bytes) && length >= 0 && length <= bytes - Int(operation.offset)
    Oracle.require(isInside, "\(operation.kind) of \(length) bytes at \(operation.offset) of \(bytes)")
    return length
  }

  private func copy(_ operation: BlockOperation, limit: Int) -> Int {
    let memory = operation.memory
    let length = checked(operation, memory.length)
    Oracle.require(memory.count <= BlockVectors.maxCount, "more vectors than the system takes")
    var done = 0
    for i in 0..<memory.count {
      guard let vector = unsafe memory.start?[i], let base = unsafe vector.iov_base else { continue }
      let count = unsafe min(vector.iov_len, min(limit, length) - done)
      guard count > 0 else { break }
      let at = unsafe disk + Int(operation.offset) + done
      if operation.kind == .read {
        unsafe base.copyMemory(from: at, byteCount: count)
      } else {
        unsafe at.copyMemory(from: base, byteCount: count)
      }
      done += count
    }
    return done
  }
}
