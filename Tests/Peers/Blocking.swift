import Foundation

/// Runs `body`, which blocks, on a thread of its own: the threads of the concurrency pool are as few as the CPUs, and a
/// peer that is waited for may itself need one.
package func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    let thread = Thread { continuation.resume(with: Result { try body() }) }
    thread.name = "peer-blocking"
    thread.start()
  }
}
