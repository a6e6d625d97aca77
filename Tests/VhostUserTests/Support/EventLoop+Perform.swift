import VDPA

extension EventLoop {
  /// Runs `body` on the loop's thread and gives back what it returns.
  func perform<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
    await withCheckedContinuation { continuation in
      run { continuation.resume(returning: body()) }
    }
  }
}
