internal import VDPA

/// How the file of a block device is read and written, without ever waiting for it: operations are prepared, submitted
/// together, and reaped when they have completed, in any order.
///
/// Belongs to one queue, and is used by one thread at a time: whoever owns the queue.
protocol BlockIO: AnyObject, Sendable {
  /// How many operations may be prepared or under way at a time.
  var depth: Int { get }

  /// How many operations were submitted and have not been reaped.
  var underWay: Int { get }

  /// Becomes readable when there are completions, unless that is not wanted. To be watched edge-triggered; nobody reads it.
  var wakeup: OwnedFD { get }

  /// Says whether ``wakeup`` has to tell of completions from now on; at first it has to. After asking for it, those that
  /// came before are to be looked for once more.
  func wantWakeups(_ wanted: Bool)

  /// Takes an operation, of which there are fewer than ``depth``.
  func prepare(_ operation: BlockOperation)

  /// Starts what was prepared.
  ///
  /// - Returns: False when the system takes no more just now: it is to be called again.
  func submit() -> Bool

  /// Hands over what has completed.
  ///
  /// - Returns: How many there were; at most about ``depth``, so that there may be more.
  func reap(_ body: (BlockCompletion) -> Void) -> Int

  /// Waits until nothing is under way any more.
  func drain()
}
