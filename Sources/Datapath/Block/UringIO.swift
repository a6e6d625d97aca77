internal import CLinux
internal import CUring
internal import Glibc
internal import SystemPackage
internal import VDPA

/// File operations by io_uring(7): the kernel does them, in its own threads where they would block.
@safe final class UringIO: BlockIO, @unchecked Sendable {
  let depth: Int
  let wakeup: OwnedFD
  private let file: OwnedFD
  // Made and ended by this object alone, and used by one thread at a time.
  private let ring: OpaquePointer
  /// Does what is done apart.
  private let others: ThreadIO
  private let apart: Apart

  /// What the one thread uses that uses this object at a time.
  private struct Own: ~Copyable {
    var prepared = 0
    var underWay = 0
    /// Whether whoever waits for completions sleeps.
    var areWakeupsWanted = true
    /// How often in a row there was nothing to be found.
    var emptyLooks = 0
  }

  private let own = Unshared(Own())

  /// Operations that are longer are done by a thread of the kernel from the start: what is in the page cache would
  /// otherwise be copied by whoever submits them, and a worker has other queues to serve.
  private static let longestCopy = 131_072

  /// The most completions that are looked at in one go.
  private static let batch = 64
  /// How often in a row a worker that polls looks for completions in vain before it lets others have its CPU.
  private static let patience = 4

  /// A ring for one queue.
  ///
  /// - Parameters:
  ///   - file: What the operations are done on.
  ///   - depth: How many may be under way.
  ///   - threads: One, that does what is done apart.
  ///   - apart: What that is; nil for what io_uring does worse.
  /// - Throws: `Errno`, when the system has no io_uring, or not for this process, or no descriptor left.
  init(file: BlockFile, depth: Int, threads: BlockThreads, apart: Apart? = nil) throws(Errno) {
    wakeup = try EventFD.make()
    self.file = file.descriptor
    self.apart = apart ?? .whatIsWorse(on: file)
    self.depth = depth
    var made: OpaquePointer?
    let error = unsafe curing_create(UInt32(depth), wakeup.rawValue, &made)
    guard error == 0, let made = unsafe made else { throw Errno(rawValue: -error) }
    unsafe ring = made
    others = ThreadIO(threads, depth: depth, wakeup: wakeup)
  }

  deinit {
    drain()
    unsafe curing_close(ring)
  }

  var underWay: Int { own.value.underWay + others.underWay }

  func prepare(_ operation: BlockOperation) {
    let fd = file.rawValue
    let memory = operation.memory
    let isAsynchronous = operation.isRetry || memory.length > UringIO.longestCopy
    let isTaken: Bool
    // The vectors and what they point to stay until the operation has completed.
    switch operation.kind {
    case .discard: return others.prepare(operation)
    case .read where apart.contains(.reads), .write where apart.contains(.writes): return others.prepare(operation)
    case .read:
      isTaken = unsafe curing_readv(
        ring, fd, memory.start, UInt32(memory.count), operation.offset, isAsynchronous, operation.tag)
    case .write, .durableWrite:
      isTaken = unsafe curing_writev(
        ring, fd, memory.start, UInt32(memory.count), operation.offset, operation.kind == .durableWrite,
        isAsynchronous, operation.tag)
    case .sync: isTaken = unsafe curing_sync(ring, fd, operation.tag)
    case .punchHole:
      isTaken = unsafe curing_allocate(
        ring, fd, CLINUX_PUNCH_HOLE, operation.offset, operation.length, operation.tag)
    case .zeroRange:
      isTaken = unsafe curing_allocate(
        ring, fd, CLINUX_ZERO_RANGE, operation.offset, operation.length, operation.tag)
    }
    precondition(isTaken, "more operations than the ring has room for")
    own.value.prepared += 1
  }

  func submit() -> Bool {
    _ = others.submit()
    if own.value.prepared == 0 { return true }
    let left = unsafe curing_submit(ring)
    // An error says that the kernel is short of something: nothing is lost, what was prepared is still there.
    let taken = left < 0 ? 0 : own.value.prepared - Int(left)
    own.value.underWay += taken
    own.value.prepared -= taken
    return own.value.prepared == 0
  }

  func wantWakeups(_ wanted: Bool) {
    own.value.areWakeupsWanted = wanted
    others.wantWakeups(wanted)
    unsafe curing_want_events(ring, wanted)
  }

  func reap(_ body: (BlockCompletion) -> Void) -> Int {
    let count = others.reap(body) + reapRing(body)
    if count > 0 {
      own.value.emptyLooks = 0
    } else if !own.value.areWakeupsWanted, underWay > 0 {
      // Whoever does the operations may have no other CPU than that of a worker that polls.
      own.value.emptyLooks += 1
      if own.value.emptyLooks >= UringIO.patience { sched_yield() }
    }
    return count
  }

  private func reapRing(_ body: (BlockCompletion) -> Void) -> Int {
    if own.value.underWay == 0 { return 0 }
    return unsafe withUnsafeTemporaryAllocation(of: curing_completion.self, capacity: UringIO.batch) { buffer in
      // The buffer has the capacity that it is said to have, and the first `found` are written.
      let found = Int(unsafe curing_reap(ring, buffer.baseAddress, UInt32(buffer.count)))
      own.value.underWay -= found
      for i in 0..<found {
        let completion = unsafe buffer[i]
        body(BlockCompletion(tag: completion.tag, result: Int(completion.result)))
      }
      return found
    }
  }

  func drain() {
    others.drain()
    while own.value.underWay > 0 {
      guard unsafe curing_wait(ring) == 0 else { return }
      _ = reapRing { _ in }
    }
  }
}
