internal import SystemPackage
internal import VDPA

/// The ways in which file operations are done.
enum BlockIOKind: String, CaseIterable, Sendable {
  /// io_uring: the kernel does them.
  case uring
  /// Threads of this process, by system calls that block.
  case threads

  /// How many operations a queue has under way at a time.
  static let depth = 128

  /// Makes a ring for a queue.
  typealias Ring = (BlockFile, _ depth: Int, BlockThreads) throws(Errno) -> any BlockIO

  /// Makes the operations of all queues of a device.
  ///
  /// - Parameters:
  ///   - kind: Which way; nil for io_uring where there is one, and threads where the system or its administrator has none.
  ///   - file: What they are done on.
  ///   - queues: How many.
  ///   - ring: How a ring is made.
  /// - Throws: ``DatapathError`` `system`, when the system has no ring, thread or descriptor.
  static func make(
    _ kind: BlockIOKind?, file: BlockFile, queues: Int, ring: Ring = makeRing
  ) throws(DatapathError) -> [any BlockIO] {
    if kind != .threads {
      let helper = try BlockThreads(count: 1, file: file.descriptor)
      var made: [any BlockIO] = []
      do throws(Errno) {
        for _ in 0..<queues { made.append(try ring(file, depth, helper)) }
        return made
      } catch {
        // Where the first ring can be made and a later one cannot, something has run out that threads need too.
        guard kind == nil && made.isEmpty else {
          throw DatapathError(
            .system,
            "\(file.path): io_uring cannot be used: \(error); allow it (sysctl kernel.io_uring_disabled, "
              + "ulimit -n and -l), or use io=threads")
        }
      }
    }
    let threads = try BlockThreads(file: file.descriptor)
    do {
      return try (0..<queues).map { _ in ThreadIO(threads, depth: depth, wakeup: try EventFD.make()) }
    } catch {
      throw DatapathError(.system, "\(file.path): no descriptor is left (ulimit -n): \(error)")
    }
  }

  private static func makeRing(file: BlockFile, depth: Int, helper: BlockThreads) throws(Errno) -> any BlockIO {
    try UringIO(file: file, depth: depth, threads: helper)
  }
}
