internal import CLinux
internal import Glibc
internal import Synchronization
package import SystemPackage

/// A thread of its own, outside of Swift's cooperative pool, bound to CPUs if asked for.
package final class PinnedThread: Sendable {
  private final class Start: Sendable {
    let name: String
    let cpus: [CInt]
    let body: @Sendable () -> Void
    init(name: String, cpus: [CInt], body: @escaping @Sendable () -> Void) {
      self.name = name
      self.cpus = cpus
      self.body = body
    }
  }

  private let thread: Mutex<pthread_t?>

  /// Starts a thread.
  ///
  /// - Parameters:
  ///   - name: What `ps -L` shows; 15 bytes are kept.
  ///   - cpus: The CPUs to run on; empty for all that the process may use. A CPU that does not exist leaves the thread
  ///     where it is: callers check the list first.
  ///   - body: What it does; the thread ends when it returns.
  /// - Throws: `Errno`, when the system has no thread left.
  package init(name: String, cpus: [Int] = [], body: @escaping @Sendable () -> Void) throws(Errno) {
    let start = Start(name: name, cpus: cpus.map { CInt($0) }, body: body)
    // The new thread takes this reference back; if there is no new thread, it is taken back here.
    let passed = unsafe Unmanaged.passRetained(start)
    var handle = pthread_t()
    let error = unsafe pthread_create(
      &handle, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        unsafe clinux_name_thread(start.name)
        // What a peer has sent may be a pipe whose other end it closes, whether or not the application ignores SIGPIPE.
        clinux_take_broken_pipes_as_errors()
        if !start.cpus.isEmpty {
          _ = unsafe start.cpus.withUnsafeBufferPointer { unsafe clinux_pin($0.baseAddress, CInt($0.count)) }
        }
        start.body()
        return nil
      }, passed.toOpaque())
    guard error == 0 else {
      unsafe passed.release()
      throw Errno(rawValue: error)
    }
    thread = Mutex(handle)
  }

  deinit {
    let handle = thread.withLock { $0 }
    if let handle { pthread_detach(handle) }
  }

  /// Waits until the thread has ended. Calling it again returns at once. Never called by the thread itself.
  package func join() {
    let handle = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    if let handle { pthread_join(handle, nil) }
  }

  /// The CPUs that the calling thread may run on.
  package static var allowedCPUs: [Int] {
    unsafe withUnsafeTemporaryAllocation(of: CInt.self, capacity: 1024) { buffer in
      let found = unsafe clinux_allowed_cpus(buffer.baseAddress, CInt(buffer.count))
      guard found > 0 else { return [] }
      return unsafe buffer.prefix(Int(found)).map { Int($0) }
    }
  }
}
