import Foundation

/// Runs `body`, which blocks, on a thread of its own: the threads of the concurrency pool are as few as the CPUs, and a
/// peer that is waited for may itself need one. It still belongs to the task that waits for it, so that what a test
/// expects in it is known to be that test's.
package func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withTaskExecutorPreference(BlockingThreads()) { try body() }
}

/// A thread for each piece of a task.
private final class BlockingThreads: TaskExecutor {
  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    // The job is run once, on a thread that holds its executor meanwhile.
    let thread = Thread { [self] in unsafe job.runSynchronously(on: asUnownedTaskExecutor()) }
    thread.name = "peer-blocking"
    thread.start()
  }
}
