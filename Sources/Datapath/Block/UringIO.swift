internal import CLinux
internal import CUring
internal import SystemPackage
internal import VDPA

/// File operations by io_uring(7): the kernel does them, in its own threads where they would block.
@safe final class UringIO: BlockIO, @unchecked Sendable {
  let depth: Int
  let wakeup: OwnedFD
  private let file: OwnedFD
  // Made and ended by this object alone, and used by one thread at a time.
  private let ring: OpaquePointer
  /// What io_uring does not do on every kernel.
  private let others: ThreadIO?
  private let counts = Unshared((prepared: 0, underWay: 0))
  private var prepared: Int {
    get { counts.value.prepared }
    set { counts.value.prepared = newValue }
  }
  private var underWay: Int {
    get { counts.value.underWay }
    set { counts.value.underWay = newValue }
  }

  /// Operations that are longer are done by a thread of the kernel from the start: what is in the page cache would
  /// otherwise be copied by whoever submits them, and a worker has other queues to serve.
  private static let longestCopy = 131_072

  /// A ring for one queue.
  ///
  /// - Parameters:
  ///   - file: What the operations are done on.
  ///   - depth: How many may be under way.
  ///   - threads: Do the discards of a block device, which io_uring has only learnt lately; nil for a file.
  /// - Throws: `Errno`, when the system has no io_uring, or not for this process, or no descriptor left.
  init(file: OwnedFD, depth: Int, threads: BlockThreads?) throws(Errno) {
    wakeup = try EventFD.make()
    self.file = file
    self.depth = depth
    var made: OpaquePointer?
    let error = unsafe curing_create(UInt32(depth), wakeup.rawValue, &made)
    guard error == 0, let made = unsafe made else { throw Errno(rawValue: -error) }
    unsafe ring = made
    others = threads.map { [wakeup] in ThreadIO($0, depth: depth, wakeup: wakeup) }
  }

  deinit {
    drain()
    unsafe curing_close(ring)
  }

  func prepare(_ operation: BlockOperation) {
    let fd = file.rawValue
    let memory = operation.memory
    let isApart = operation.isRetry || memory.length > UringIO.longestCopy
    let isTaken: Bool
    // The vectors and what they point to stay until the operation has completed.
    switch operation.kind {
    case .read:
      isTaken = unsafe curing_readv(
        ring, fd, memory.start, UInt32(memory.count), operation.offset, isApart, operation.tag)
    case .write, .durableWrite:
      isTaken = unsafe curing_writev(
        ring, fd, memory.start, UInt32(memory.count), operation.offset, operation.kind == .durableWrite, isApart,
        operation.tag)
    case .sync: isTaken = unsafe curing_sync(ring, fd, operation.tag)
    case .punchHole:
      isTaken = unsafe curing_allocate(
        ring, fd, CLINUX_PUNCH_HOLE, operation.offset, operation.length, operation.tag)
    case .zeroRange:
      isTaken = unsafe curing_allocate(
        ring, fd, CLINUX_ZERO_RANGE, operation.offset, operation.length, operation.tag)
    case .discard:
      guard let others else { preconditionFailure("only block devices are sent discards") }
      others.prepare(operation)
      return
    }
    precondition(isTaken, "more operations than the ring has room for")
    prepared += 1
  }

  func submit() -> Bool {
    _ = others?.submit()
    if prepared == 0 { return true }
    let left = unsafe curing_submit(ring)
    // An error says that the kernel is short of something: nothing is lost, what was prepared is still there.
    let taken = left < 0 ? 0 : prepared - Int(left)
    underWay += taken
    prepared -= taken
    return prepared == 0
  }

  func reap(_ body: (BlockCompletion) -> Void) -> Int {
    var count = others?.reap(body) ?? 0
    if underWay == 0 { return count }
    unsafe withUnsafeTemporaryAllocation(of: curing_completion.self, capacity: 64) { buffer in
      // The buffer has the capacity that it is said to have, and the first `found` are written.
      let found = Int(unsafe curing_reap(ring, buffer.baseAddress, UInt32(buffer.count)))
      underWay -= found
      count += found
      for i in 0..<found {
        let completion = unsafe buffer[i]
        body(BlockCompletion(tag: completion.tag, result: Int(completion.result)))
      }
    }
    return count
  }

  func drain() {
    others?.drain()
    while underWay > 0 {
      guard unsafe curing_wait(ring) == 0 else { return }
      _ = reap { _ in }
    }
  }
}
