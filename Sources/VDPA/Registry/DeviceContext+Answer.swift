internal import Synchronization

extension DeviceContext {
  /// What an operation results in, for a thread that may wait for it.
  private final class Answer<Value: Sendable>: Sendable {
    private let result = Mutex<Result<Value, VDPAError>?>(nil)
    private let changes = FutexWord()

    func put(_ result: Result<Value, VDPAError>) {
      self.result.withLock { $0 = result }
      changes.signal()
    }

    /// nil when there is none by then.
    func get(by deadline: Deadline) -> Result<Value, VDPAError>? {
      while true {
        let seen = changes.value
        if let result = result.withLock({ $0 }) { return result }
        if deadline.hasPassed { return nil }
        changes.wait(whileEqualTo: seen, nanoseconds: deadline.nanoseconds)
      }
    }
  }

  /// Has an operation done and waits for it. Not to be called from a completion.
  ///
  /// - Parameters:
  ///   - patience: How long to wait at most. An operation that takes longer goes on; nobody hears of its result.
  ///   - operation: One of this context's, handed its completion.
  /// - Throws: What the operation ended with; ``VDPAError`` `operationFailed`, when it did not end in time.
  public func wait<Value: Sendable>(
    within patience: Duration = .seconds(30), _ operation: (DeviceContext, @escaping Completion<Value>) -> Void
  ) throws(VDPAError) -> Value {
    let answer = Answer<Value>()
    operation(self) { answer.put($0) }
    guard let result = answer.get(by: Deadline(after: patience)) else {
      throw VDPAError(
        .operationFailed, "\(owner): \(handle) (\(driver)) has not answered within \(patience); it may be stuck")
    }
    return try result.get()
  }
}
