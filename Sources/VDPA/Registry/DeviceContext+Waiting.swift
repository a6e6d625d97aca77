extension DeviceContext {
  /// Has an operation done and waits for it. Not to be called from a completion.
  ///
  /// - Parameters:
  ///   - patience: How long to wait at most. An operation that takes longer goes on; nobody hears of its result.
  ///   - operation: One of this context's, handed its completion.
  /// - Throws: What the operation ended with; ``VDPAError`` `operationFailed`, when it did not end in time.
  public func wait<Value: Sendable>(
    within patience: Duration = .seconds(30), _ operation: (DeviceContext, @escaping Completion<Value>) -> Void
  ) throws(VDPAError) -> Value {
    let result: Result<Value, VDPAError>? = waitForValue(within: patience) { operation(self, $0) }
    guard let result else {
      throw VDPAError(
        .operationFailed, "\(owner): \(handle) (\(driver)) has not answered within \(patience); it may be stuck")
    }
    return try result.get()
  }
}
