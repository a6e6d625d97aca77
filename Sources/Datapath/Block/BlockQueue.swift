internal import Synchronization
internal import SystemPackage
internal import Virtio

/// One request queue of a block device: checks requests, has their operations done, and gives them back as they complete,
/// in any order (virtio 1.2, §5.2.6).
///
/// Belongs to whoever owns its vring: the worker in a burst, or, between two bursts, the control side.
@safe final class BlockQueue<Buffers: BlockBuffers & ~Copyable>: @unchecked Sendable {
  typealias Task = BlockTask<Buffers>

  let index: Int
  let medium: BlockMedium
  let io: any BlockIO
  /// What changes.
  private struct Own: ~Copyable {
    /// What the driver has accepted.
    var features: Features = []
    /// All that were ever needed, by tag.
    var tasks: [Task] = []
    /// The tags of those without a request.
    var free: [Int] = []
    /// Requests that wait for an operation to end, from `nextWaiting` on.
    var waiting: [Int] = []
    var nextWaiting = 0
    /// How many requests have an operation under way.
    var underWay = 0
  }

  private let own = Unshared(Own())

  /// How many requests have an operation under way.
  private(set) var underWay: Int {
    get { own.value.underWay }
    set { own.value.underWay = newValue }
  }

  /// How often an operation is tried again when the system asks for it.
  private static var maxRetries: Int { 100 }
  /// The most bytes of zeroes that one operation writes.
  private static var maxZeroes: Int { 1 << 20 }

  /// A queue.
  ///
  /// - Parameters:
  ///   - index: Its number, which is its vring's.
  ///   - io: Its own.
  init(index: Int, medium: BlockMedium, io: any BlockIO) {
    self.index = index
    self.medium = medium
    self.io = io
  }

  deinit {
    // The kernel uses their memory until then.
    io.drain()
    for task in own.value.tasks { task.free() }
  }

  /// Begins with what the driver has accepted.
  func start(features: Features) { own.value.features = features }

  /// Whether the driver may make use of a feature.
  func offers(_ feature: Features) -> Bool { own.value.features.contains(feature) }

  /// How many requests have been taken and not been given back.
  var inFlight: Int { own.value.tasks.count - own.value.free.count }

  /// Takes a request. What has to be done for it is started by ``service()``.
  func process(_ buffers: consuming Buffers) {
    // Where there is no room for a status, there is nobody to tell of anything.
    guard buffers.writableBytes > 0 else {
      medium.failures.add(.guest, vring: index, "a request without room for its status")
      return
    }
    let task = take()
    task.buffers = consume buffers
    do throws(BlockRefusal) {
      if try check(task) { return finish(task, .ok) }
    } catch {
      medium.failures.add(.guest, vring: index, "\(task.description): \(error.reason)")
      return finish(task, error.status)
    }
    guard underWay < io.depth else {
      own.value.waiting.append(task.tag)
      return
    }
    start(task)
  }

  /// Starts what can be started, and gives back what has completed.
  ///
  /// - Returns: How much there was to do; with 0, ``BlockIO/wakeup`` tells when there is more.
  func service() -> Int {
    let isSubmitted = io.submit()
    let completed = io.reap { complete($0) }
    while underWay < io.depth, own.value.nextWaiting < own.value.waiting.count {
      let task = own.value.tasks[own.value.waiting[own.value.nextWaiting]]
      own.value.nextWaiting += 1
      start(task)
    }
    // Also under a guest for which there is always something waiting.
    if own.value.nextWaiting > 0, own.value.nextWaiting * 2 >= own.value.waiting.count {
      own.value.waiting.removeFirst(own.value.nextWaiting)
      own.value.nextWaiting = 0
    }
    return completed + (isSubmitted ? 0 : 1)
  }

  /// Says whether whoever serves the queue is about to sleep, or looks for completions by itself.
  func wantWakeups(_ wanted: Bool) { io.wantWakeups(wanted) }

  // MARK: Requests

  private func take() -> Task {
    if let tag = own.value.free.popLast() { return own.value.tasks[tag] }
    let task = Task(tag: own.value.tasks.count)
    own.value.tasks.append(task)
    return task
  }

  /// Gives a request back to the guest.
  ///
  /// - Parameter status: Goes into the last byte that the device may write.
  private func finish(_ task: Task, _ status: BlockStatus) {
    if var buffers = task.buffers.take() {
      let place = buffers.writableBytes - 1
      let isWritten = buffers.write(byte: status.rawValue, at: place)
      // What a read has filled; in all other requests nothing comes before the status but a name.
      let data = min(task.request.kind == .read || task.request.kind == .getID ? task.done : 0, place)
      buffers.writtenBytes = isWritten && data == place ? place + 1 : data
    }
    task.reset()
    own.value.free.append(task.tag)
  }

  // MARK: Operations

  /// Prepares the first operation of a request.
  private func start(_ task: Task) {
    underWay += 1
    if case .transfer = task.step, !gather(task) { return end(task, "its memory is gone") }
    advance(task)
  }

  /// Takes note of where the data of a read or a write is.
  private func gather(_ task: Task) -> Bool {
    // The memory is the request's until it is given back.
    let vectors = task.vectors
    vectors.begin()
    let isThere =
      task.request.kind == .read
      ? task.buffers?.addWritable(at: 0, count: task.length, to: vectors)
      : task.buffers?.addReadable(at: BlockRequest.headerLength, count: task.length, to: vectors)
    return isThere == true
  }

  /// Prepares the next operation of a request, or gives it back if there is none.
  private func advance(_ task: Task) {
    let sectorSize = Int(BlockConfiguration.sectorSize)
    var operation = BlockOperation(kind: .sync, isRetry: task.retries > 0, tag: UInt64(task.tag))
    switch task.step {
    case .transfer:
      operation.kind = task.request.kind == .read ? .read : isWriteThrough ? .durableWrite : .write
      operation.memory = task.vectors.next
      operation.offset = task.request.sector * UInt64(sectorSize) + UInt64(task.done)
    case .segment(let method):
      guard let segment = task.segments.last else {
        // What was made zero has been written like anything else; a discard promises nothing.
        guard isWriteThrough && task.request.kind == .writeZeroes else { return end(task, nil) }
        task.step = .sync
        return advance(task)
      }
      let rest = Int(segment.count) * sectorSize - task.done
      operation.offset = segment.sector * UInt64(sectorSize) + UInt64(task.done)
      operation.length = UInt64(rest)
      switch method {
      case .discard: operation.kind = .discard
      case .punchHole: operation.kind = .punchHole
      case .zeroRange: operation.kind = .zeroRange
      case .writeZeroes:
        operation.kind = .write
        task.vectors.setZeroes(min(rest, BlockQueue.maxZeroes))
        operation.memory = task.vectors.next
      }
    case .sync:
      if let error = medium.earlierSyncError {
        return end(task, "an earlier flush has failed (\(error)) and data may be lost; restart the device")
      }
    }
    io.prepare(operation)
  }

  /// Whether what is written has to be on stable storage when the guest is told so (virtio 1.2, §5.2.6.2): a driver
  /// that cannot flush cannot ask for it later.
  private var isWriteThrough: Bool { !own.value.features.contains(.blockFlush) }

  /// An operation of a request has ended: goes on with the next one.
  private func complete(_ completion: BlockCompletion) {
    let task = own.value.tasks[Int(completion.tag)]
    if completion.result >= 0 {
      task.retries = 0
      return succeeded(task, completion.result)
    }
    let error = Errno(rawValue: CInt(truncatingIfNeeded: -completion.result))
    if error == .interrupted || error == .resourceTemporarilyUnavailable, task.retries < BlockQueue.maxRetries {
      task.retries += 1
      return advance(task)
    }
    failed(task, error)
  }

  private func succeeded(_ task: Task, _ result: Int) {
    switch task.step {
    case .transfer:
      guard result > 0 else {
        return end(
          task,
          task.request.kind == .read
            ? "the file ends \(task.length - task.done) bytes early; has it been truncated?" : "nothing was written")
      }
      task.done += result
      if task.done >= task.length { return end(task, nil) }
      task.vectors.advance(by: result)
    case .segment(.writeZeroes):
      guard result > 0, let segment = task.segments.last else { return end(task, "nothing was written") }
      task.done += result
      if task.done >= Int(segment.count) * Int(BlockConfiguration.sectorSize) { nextSegment(task) }
    case .segment: nextSegment(task)
    case .sync:
      // The kernel tells of what could not be written once only, so of two that run at the same time one may not hear of it.
      if let error = medium.earlierSyncError { return failed(task, error) }
      return end(task, nil)
    }
    advance(task)
  }

  private func failed(_ task: Task, _ error: Errno) {
    if error == .badAddress { task.vectors.touch() }
    switch task.step {
    case .sync: medium.syncFailed(error)
    case .segment(let method) where isRefusal(error):
      switch method {
      case .discard:
        // The device may free the space and need not.
        nextSegment(task)
        return advance(task)
      case .punchHole where task.request.kind == .discard:
        nextSegment(task)
        return advance(task)
      case .punchHole:
        if error != .invalidArgument { medium.cannotPunchHoles.store(true, ordering: .relaxed) }
        task.step = .segment(.zeroRange)
        return advance(task)
      case .zeroRange:
        if error != .invalidArgument { medium.cannotZeroRanges.store(true, ordering: .relaxed) }
        task.step = .segment(.writeZeroes)
        return advance(task)
      case .writeZeroes: break
      }
    case .transfer, .segment: break
    }
    end(task, "\(error)")
  }

  /// Whether an error says that a file cannot do what was asked for at all, so that there is another way to be found. A
  /// block device says of a range that is not of whole blocks that it is invalid.
  private func isRefusal(_ error: Errno) -> Bool {
    error == .notSupported || error == .noFunction || error == .inappropriateIOCTLForDevice
      || (error == .invalidArgument && medium.file.isBlockDevice)
  }

  /// Leaves the current segment for the next one.
  func nextSegment(_ task: Task) {
    task.segments.removeLast()
    choose(task)
  }

  /// How the current segment of a request will be discarded or made zero.
  func choose(_ task: Task) {
    task.done = 0
    // An empty one has nothing to be done.
    while task.segments.last?.count == 0 { task.segments.removeLast() }
    if task.request.kind == .discard {
      task.step = .segment(medium.file.isBlockDevice ? .discard : .punchHole)
    } else if task.segments.last?.flags.contains(.unmap) == true && !medium.cannotPunchHoles.load(ordering: .relaxed) {
      task.step = .segment(.punchHole)
    } else {
      task.step = .segment(medium.cannotZeroRanges.load(ordering: .relaxed) ? .writeZeroes : .zeroRange)
    }
  }

  /// The last operation of a request has ended.
  ///
  /// - Parameter failure: Why it has failed; nil when it has not.
  private func end(_ task: Task, _ failure: String?) {
    underWay -= 1
    if let failure {
      medium.failures.add(.medium, vring: index, "\(task.description): \(medium.file.path): \(failure)")
    }
    finish(task, failure == nil ? .ok : .ioError)
  }
}
